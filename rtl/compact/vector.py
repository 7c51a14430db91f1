"""The compact machine's arithmetic: multiply, add up, shift, add, limit, look up."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.compact.tables import exp_table, gate_table, root_table
from celosia.rtl.arithmetic.multiplier import RegisteredMultiplier
from celosia.rtl.compact.operation import Add, Group, Measure, Table, Width, control_layout
from celosia.rtl.stream.pipeline import bit_length

__all__ = ["CompactVector"]


class CompactVector(wiring.Component):
    """``y = limit(round(sum(a * b) / 2**shift) + add)``, or what a table says of that.

    Rounds half up; the rounded value is limited to ``-2**23 ... 2**23``, the sum to ``width``.
    Bit-exact with :func:`celosia.reference.compact.arithmetic.compute`.

    Latency 6 cycles from operands to ``write``. Throughput 1 product per cycle.

    Parameters
    ----------
    activation : str
        Of the table of gates: see :func:`celosia.reference.compact.tables.gate_table`.
    gate_shift : int, 0 to 7
        Bits of gates behind the table's, which round half up. Gates have 16 bits.
    a_width, sum_width : int, 24 to 34, 40 to 48
        Bits of the first operand, and of sums of products.
    positions : int
        The most there are.
    beats : int
        Bits of the control's ``beats``.

    Members
    -------
    control : In(control_layout)
        Holds from ``begin`` until 4 cycles behind the last operands; the next ``begin`` is the
        first thing behind that, but 6 cycles behind them if it measures.
    shift : In(unsigned(5))
    begin : In(1)
        An instruction begins in the next cycle.
    turn : Out(1)
        1 in the second cycle behind ``begin``: results that are written in later cycles are the
        new instruction's.
    late : Out(control_layout)
        The control of results as they are written.
    valid, last : In(1)
        Operands are there; they are the instruction's last ones.
    a : In(signed(a_width))
    b : In(signed(16))
    add : In(signed(24))
        The wide memory's value at the result's place, when ``adding``.
    adding : Out(1)
        1 in the cycle before ``add`` is taken.
    positions : In(range(positions + 1))
        Masked results beyond so many do not count.
    empty : Out(1)
    write : Out(1)
    y : Out(signed(24))
        A result, in the cycle of ``write``.
    plain : Out(signed(24))
        The same, but not looked up.
    exponent : Out(unsigned(5))
        Of the vector measured last, as ``control.measure`` says.
    largest : Out(unsigned(20))
        The index of the largest result.
    tap : Out(1)
        A result that was compared is in ``tapped``.
    tapped : Out(signed(24))
    """

    def __init__(
        self, activation="silu", gate_shift=0, a_width=24, sum_width=40, positions=256, beats=8
    ):
        self.activation = activation
        self.gate_shift = gate_shift
        self.sum_width = sum_width
        super().__init__(
            {
                "control": In(control_layout(beats)),
                "shift": In(5),
                "begin": In(1),
                "turn": Out(1),
                "late": Out(control_layout(beats)),
                "valid": In(1),
                "last": In(1),
                "a": In(signed(a_width)),
                "b": In(signed(16)),
                "add": In(signed(24)),
                "adding": Out(1),
                "positions": In(range(positions + 1)),
                "empty": Out(1),
                "write": Out(1),
                "y": Out(signed(24)),
                "plain": Out(signed(24)),
                "exponent": Out(5),
                "largest": Out(20),
                "tap": Out(1),
                "tapped": Out(signed(24)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        control, late = self.control, self.late
        begun = Signal()
        m.d.sync += [begun.eq(self.begin), self.turn.eq(begun)]
        with m.If(self.turn):
            m.d.sync += late.eq(control)
        total, complete, summing = self._total(m)

        # Fourth: the shift, and the first limit; what is to be added.
        moved = Signal(signed(self.sum_width + 1))
        m.d.comb += moved.eq(Cat(Const(0, 1), total).as_signed() >> self.shift)
        whole = Signal(signed(24))
        up = Signal()
        high = moved[24:]
        fits = Signal()
        m.d.comb += fits.eq((high == 0) | high.all())
        m.d.sync += [
            whole.eq(Mux(fits, moved[1:25], Cat((~moved[-1]).replicate(23), moved[-1]))),
            up.eq(Mux(fits, moved[0], ~moved[-1])),
        ]
        stage = Signal(3)  # a result is at its sum, at its table, at its writing
        m.d.sync += stage.eq(Cat(complete, stage))
        greatest, addend = Signal(signed(24)), Signal(signed(24))
        m.d.sync += addend.eq(0)
        with m.Switch(late.add):
            with m.Case(Add.WIDE):
                m.d.sync += addend.eq(self.add)
            with m.Case(Add.LARGEST):
                m.d.sync += addend.eq(~greatest)

        # Fifth: the addition, and the last limit.
        sum_ = Signal(signed(26))
        m.d.comb += sum_.eq(whole + addend + up + (late.add == Add.LARGEST))
        y = Signal(signed(24))
        m.d.sync += y.eq(_limited(m, sum_, late.width))

        # Sixth: measurements, and the tables' addresses.
        index = Signal(20)
        masked = Signal()
        m.d.comb += masked.eq(late.masked & (index >= self.positions))
        self._measure(m, stage[1], y, masked, index, greatest)
        with m.If(stage[1]):
            m.d.sync += index.eq(index + 1)
        with m.If(self.turn):
            m.d.sync += index.eq(0)
        looked_up = self._tables(m, y)
        later, zero = Signal(signed(24)), Signal()
        m.d.sync += [later.eq(y), zero.eq(masked)]

        # Seventh: writing.
        m.d.comb += [
            self.write.eq(stage[2]),
            self.plain.eq(later),
            self.y.eq(Mux(late.table == Table.NONE, later, Mux(zero, 0, looked_up))),
            self.empty.eq(~self.valid & ~summing & ~complete & (stage == 0)),
            self.tap.eq(stage[1] & late.largest & ~late.masked),
            self.tapped.eq(y),
        ]
        return m

    def _total(self, m):
        """Third stage: sums of one, two or all products; whether one is there, whether to come."""
        control, product = self.control, self._product(m)
        valid, last = Signal(2), Signal(2)  # in the second stage, in the third
        m.d.sync += [valid.eq(Cat(self.valid, valid)), last.eq(Cat(self.last, last))]
        total = Signal(signed(self.sum_width))
        odd, fresh = Signal(), Signal()
        keep = Signal()
        two, all_ = control.group == Group.TWO, control.group == Group.ALL
        m.d.comb += keep.eq((two & odd) | (all_ & ~fresh))
        complete = Signal()
        m.d.comb += self.adding.eq(
            valid[1] & ((control.group == Group.ONE) | (two & odd) | (all_ & last[1]))
        )
        m.d.sync += complete.eq(self.adding)
        with m.If(valid[1]):
            m.d.sync += [total.eq(Mux(keep, total, 0) + product), odd.eq(~odd), fresh.eq(0)]
        with m.If(self.begin):
            m.d.sync += [odd.eq(0), fresh.eq(1)]
        return total, complete, valid.any()

    def _product(self, m):
        """``a * b``, two cycles later."""
        m.submodules.low = low = RegisteredMultiplier(unsigned(16), signed(16))
        m.submodules.high = high = RegisteredMultiplier(self.a[16:].as_signed().shape(), signed(16))
        m.d.comb += [
            low.a.eq(self.a[:16]),
            low.b.eq(self.b),
            low.en.eq(1),
            high.a.eq(self.a[16:]),
            high.b.eq(self.b),
            high.en.eq(1),
        ]
        product = Signal(signed(self.sum_width))
        m.d.comb += product.eq(low.p + (high.p << 16))
        return product

    def _measure(self, m, valid, y, masked, index, greatest):
        """The magnitude of all results, and the largest."""
        control, late = self.control, self.late
        used, fresh = Signal(23), Signal()
        with m.If(valid & late.sum):
            m.d.sync += used.eq(used | (y[:23] ^ y[-1].replicate(23)))
        with m.If(valid & late.largest & ~masked & (fresh | (y > greatest))):
            m.d.sync += [greatest.eq(y), self.largest.eq(index), fresh.eq(0)]
        with m.If(self.turn & control.sum & ~control.more):
            m.d.sync += used.eq(0)
        with m.If(self.turn & control.largest):
            m.d.sync += fresh.eq(1)
        length = Signal(5)
        m.d.comb += length.eq(bit_length(used))
        limit = Signal(5)
        with m.Switch(control.measure):
            with m.Case(Measure.FIFTEEN):
                m.d.comb += limit.eq(15)
            with m.Case(Measure.EIGHT):
                m.d.comb += limit.eq(8)
            with m.Case(Measure.SEVEN):
                m.d.comb += limit.eq(7)
        excess = Signal(5)
        m.d.comb += excess.eq(Mux(length > limit, length - limit, 0))
        with m.If(self.begin & (control.measure != Measure.KEEP)):
            m.d.sync += self.exponent.eq(
                Mux(control.measure == Measure.EIGHT, excess + excess[0], excess)
            )

    def _tables(self, m, y):
        """What the tables say of ``y``, a cycle later."""
        exp = [0] * 256
        for place, value in enumerate(exp_table().tolist()):
            exp[-place % 256] = value
        gates = gate_table(self.activation).tolist()
        small = [*exp, *gates[128:], *gates[:128]]
        m.submodules.narrow = small = memory.Memory(shape=8, depth=512, init=small)
        m.submodules.root = root = memory.Memory(shape=15, depth=256, init=root_table().tolist())
        place = Signal(8)
        is_gate = self.late.table == Table.GATE
        gate = Signal(signed(17))
        twice = Cat(Const(0, 1), y[:16]).as_signed() >> self.gate_shift
        m.d.comb += [place.eq(y[:8]), gate.eq((twice + 1) >> 1)]
        with m.If(is_gate):
            m.d.comb += place.eq(gate)
            with m.If(gate[7:] != gate[-1].replicate(10)):
                m.d.comb += place.eq(Cat((~gate[-1]).replicate(7), gate[-1]))
        with m.Elif((self.late.table == Table.EXP) & y[-1] & ~(y[8:].all() & y[:8].any())):
            m.d.comb += place.eq(1)
        narrow, wide = small.read_port(), root.read_port()
        m.d.comb += [narrow.addr.eq(Cat(place, is_gate)), wide.addr.eq(place)]
        return Mux(self.late.table == Table.ROOT, wide.data, narrow.data)


def _limited(m, x, width):
    """``x`` signed(26), limited to the bits that ``width`` says."""
    y = Signal(signed(24))
    fits = Signal()
    byte, half = width == Width.BYTE, width == Width.HALF
    m.d.comb += fits.eq(
        (x[23:] == x[-1].replicate(3))
        & (~(half | byte) | (x[15:23] == x[-1].replicate(8)))
        & (~byte | (x[7:15] == x[-1].replicate(8)))
    )
    sign = x[-1]
    middle, upper = (Mux(small, sign, ~sign).replicate(8) for small in (byte, half | byte))
    m.d.comb += y.eq(Mux(fits, x[:24], Cat((~sign).replicate(7), middle, upper, sign)))
    return y
