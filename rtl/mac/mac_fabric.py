"""The MAC fabric: a systolic array of dot products that consumes the tape, one beat a cycle."""

from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2
from celosia.rtl.arithmetic.multiplier import multiply, multiply_registered
from celosia.rtl.mac.group_scales import parameter_layout
from celosia.rtl.stream.block_queue import BlockQueue
from celosia.rtl.stream.queue import Queue

__all__ = ["SHARING", "MacFabric", "activation_layout", "beat_layout"]

MANTISSA_WIDTH = 8
EXPONENT_WIDTH = 4
SHARING = 4  # rows that share registers for their activations and what steers their sums
FINE = 2  # bits of the exponent that shift a dot product before its register, not behind it


def activation_layout(lanes):
    """A block of activations: ``mantissa[lanes] * 2**exponent``."""
    return data.StructLayout(
        {
            "mantissa": data.ArrayLayout(signed(MANTISSA_WIDTH), lanes),
            "exponent": unsigned(EXPONENT_WIDTH),
        }
    )


def beat_layout(rows, lanes, tokens, weight_width, groups=None):
    """What the fabric takes in a cycle.

    ``weights`` int[rows, lanes]; one block of ``activations`` for each token; ``first`` and
    ``last`` frame the beats of a tile. With ``groups`` also ``parameters``, each row's
    scale and offset.
    """
    members = {
        "weights": data.ArrayLayout(data.ArrayLayout(signed(weight_width), lanes), rows),
        "activations": data.ArrayLayout(activation_layout(lanes), tokens),
        "first": 1,
        "last": 1,
    }
    if groups:
        members["parameters"] = data.ArrayLayout(parameter_layout(groups), rows)
    return data.StructLayout(members)


class MacFabric(wiring.Component):
    """``o[token, row] = sum over a tile's beats of (weights[row] . mantissa[token]) << exponent``.

    With ``groups`` the dot product counts ``scale[row]`` times, and ``offset[row]`` times the sum
    of the mantissas is added to it. An output-stationary array of ``tokens x rows`` dot products of
    ``lanes`` multipliers each. A beat's weights serve all tokens, a token's block all rows. Exact:
    nothing rounds, and ``acc_width`` bits hold any tile the caller sends.

    Latency from the last beat of a tile to its result ``5 + ceil(log2(lanes) / 2)`` cycles, with
    ``groups`` 2 more, with ``results_in_blocks`` 1 more. Throughput 1 beat per cycle; 16 results
    may wait without stopping the beats.

    Parameters
    ----------
    rows, lanes, tokens : int, at least 1
        ``tokens * rows * lanes`` is the number of multipliers; scales and offsets need another
        ``tokens * rows`` each.
    weight_width : int, 2 to 8
    acc_width : int, 24 to 56
    groups : GroupFormat, optional
    results_in_blocks : bool
        Whether results wait in block RAM, or in LUTs.

    Members
    -------
    i : In(stream of beat_layout)
    o : Out(stream of int acc_width[tokens, rows])
    nearly_full : Out(1)
        There is room for 2 tiles at most.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    results = 16

    def __init__(
        self,
        rows,
        lanes,
        tokens=1,
        weight_width=8,
        acc_width=40,
        groups=None,
        results_in_blocks=False,
    ):
        for name, value in (("rows", rows), ("lanes", lanes), ("tokens", tokens)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        if weight_width not in range(2, 9):
            raise ValueError(f"weight_width must be from 2 to 8, not {weight_width!r}")
        if acc_width not in range(24, 57):
            raise ValueError(f"acc_width must be from 24 to 56, not {acc_width!r}")
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.weight_width = weight_width
        self.acc_width = acc_width
        self.groups = groups
        self.results_in_blocks = results_in_blocks
        self._depth = 3 + -(-ceil_log2(lanes) // 2) + (2 if groups else 0)  # to the accumulators
        self.latency = self._depth + 2 + results_in_blocks
        tile = data.ArrayLayout(data.ArrayLayout(signed(acc_width), rows), tokens)
        beat = beat_layout(rows, lanes, tokens, weight_width, groups)
        super().__init__(
            {
                "i": In(stream.Signature(beat)),
                "o": Out(stream.Signature(tile)),
                "nearly_full": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        queue = BlockQueue if self.results_in_blocks else Queue
        m.submodules.results = results = queue(self.o.p.shape(), self.results)
        connect(m, results.o, flipped(self.o))

        # The arithmetic never stalls: a tile's last beat is accepted only if its result has room.
        room = Signal(range(self.results + 1), init=self.results)
        room_next = Signal.like(room)
        open_ = Signal(init=1)
        taken = Signal()
        ending = Signal()
        m.d.comb += [
            self.i.ready.eq(open_),
            ending.eq(self.i.valid & self.i.ready & self.i.p.last),
            room_next.eq(room + taken - ending),
        ]
        m.d.sync += [
            taken.eq(self.o.valid & self.o.ready),
            room.eq(room_next),
            open_.eq(room_next != 0),
            self.nearly_full.eq(room_next <= 2),
        ]

        # A register for the beat, two in the multipliers, those of the adders, the accumulator.
        beat = self.i.p
        weights = _delay(m, beat.weights, 1)
        frame = Signal(data.StructLayout({"first": 1, "last": 1, "valid": 1}))
        m.d.comb += [
            frame.first.eq(beat.first),
            frame.last.eq(beat.last),
            frame.valid.eq(self.i.valid & self.i.ready),
        ]
        earlier = _delay(m, frame, self._depth - 2)
        coming = _delay(m, earlier, 1)
        frame = _delay(m, coming, 1)
        starting, written = Signal(), Signal()
        m.d.comb += starting.eq(earlier.valid & earlier.first)
        m.d.sync += written.eq(frame.valid & frame.last)
        m.d.comb += results.i.valid.eq(written)
        parameters = self._parameters(m, beat)
        for token in range(self.tokens):
            block = beat.activations[token].mantissa
            exponent = _delay(m, beat.activations[token].exponent, self._depth - 2)
            total = self._total(m, _delay(m, block, 1))
            for row in range(self.rows):
                if row % SHARING == 0:
                    name = f"copy_{token}_{row}"
                    mantissas = _delay(m, block, 1, name)
                    early = _delay(m, exponent, 1, name)
                    later = _delay(m, early[FINE:], 1, name)
                    clear, valid = _delay(m, starting, 1, name), _delay(m, coming.valid, 1, name)
                dot = _dot(m, weights[row], mantissas, (token * self.rows + row) * self.lanes)
                if self.groups:
                    dot = self._scaled(
                        m, _delay(m, dot, int(self.lanes > 1)), total, parameters[row]
                    )
                acc = Signal(signed(self.acc_width), name=f"acc_{token}_{row}", reset_less=True)
                summed = Signal(signed(self.acc_width), name=f"summed_{token}_{row}")
                if self.groups or self.lanes > 1:
                    dot = _delay(m, _shift(m, dot, early[:FINE]), 1)
                    shifted = _shift(m, dot, later, 1 << FINE)
                else:  # the product comes out of a register
                    shifted = _shift(m, dot, Cat(_delay(m, early[:FINE], 1), later))
                m.d.comb += summed.eq(acc + shifted)
                with m.If(valid):
                    m.d.sync += acc.eq(summed)
                with m.If(clear):  # a cycle ahead, by the registers' own reset
                    m.d.sync += acc.eq(0)
                m.d.sync += results.i.p[token][row].eq(summed)
        return m

    def _parameters(self, m, beat):
        """The rows' scales and offsets beside their dot products."""
        if self.groups is None:
            return None
        return _delay(m, beat.parameters, self._depth - 2)

    def _total(self, m, block):
        """The sum of a block's values beside its dot products, where offsets need it."""
        if self.groups is None or not self.groups.offsets:
            return None
        return _delay(m, sum(block[1:], block[0]), self._depth - 3)

    def _scaled(self, m, dot, total, parameters):
        """``dot * scale + total * offset``, in two stages but for the second one's register."""
        product = Signal(signed(len(dot) + len(parameters.scale) + 1), name="scaled_dot")
        m.d.sync += product.eq(multiply(m, dot, parameters.scale))
        offset = 0
        if self.groups.offsets:
            offset = Signal(signed(len(total) + len(parameters.offset)), name="scaled_total")
            m.d.sync += offset.eq(multiply(m, total, parameters.offset))
        return product + offset


def _delay(m, value, cycles, name="delayed"):
    for _ in range(cycles):
        delayed = Signal(value.shape(), name=name)
        m.d.sync += delayed.eq(value)
        value = delayed
    return value


def _dot(m, weights, mantissas, number):
    """The dot product: products, then a stage for each two levels of adders, the last one open.

    ``number`` is that of the first product among all; boards know them by it.
    """
    terms = [
        multiply_registered(m, w, x, name=f"product_{number + lane}")
        for lane, (w, x) in enumerate(zip(weights, mantissas, strict=True))
    ]
    while len(terms) > 4:
        terms = [_delay(m, _sum(m, terms[n : n + 4]), 1) for n in range(0, len(terms), 4)]
    return _sum(m, terms)


def _shift(m, x, distance, unit=1):
    """``x << (unit * distance)`` as one choice among all distances."""
    shifted = Signal(signed(len(x) + unit * ((1 << len(distance)) - 1)), name="shifted")
    with m.Switch(distance):
        for steps in range(1 << len(distance)):
            with m.Case(steps):
                m.d.comb += shifted.eq(x << (unit * steps))
    return shifted


def _sum(m, terms):
    """The sum by pairs. The kept wires stop synthesis from a tree of carry-save adders."""
    while len(terms) > 1:
        sums = []
        for a, b in zip(terms[0::2], terms[1::2], strict=False):
            total = Signal((a + b).shape(), name="sum", attrs={"keep": 1})
            m.d.comb += total.eq(a + b)
            sums.append(total)
        terms = sums + terms[len(sums) * 2 :]
    return terms[0]
