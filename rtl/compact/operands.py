"""The compact machine's operands beside dot products: tapes, wide and half memory, the shift."""

from types import SimpleNamespace

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.compact.tables import scale_values
from celosia.rtl.compact.operation import A, Add, B, Exponent, Step
from celosia.rtl.compact.sequencer import run_layout

__all__ = ["CompactOperands"]


class CompactOperands(wiring.Component):
    """Both operands of a vector operation, what is added to its results, and its shift.

    Operands are there in the cycle after ``issue``.

    Parameters
    ----------
    shape : CompactShape
    image : CompactImage

    Members
    -------
    run : In(run_layout)
    issue : In(1)
    row : In(unsigned(20))
        Of the embedding.
    adding : In(1)
        The next word to be added is read.
    product : In(signed(acc_width))
    weight : In(signed(weight_width))
        Of the embedding.
    exponent : In(unsigned(5))
    target : In(unsigned)
    y, plain : In(signed(24))
    wide, half : In(1)
        ``plain`` is written at ``target`` of the wide memory, ``y`` of the half memory.
    a, b, add : Out(signed), Out(signed(16)), Out(signed(24))
        The first has as many bits as a product, 24 at least.
    shift : Out(unsigned(5))
    """

    def __init__(self, shape, image):
        self.shape = shape
        self.image = image
        super().__init__(
            {
                "run": In(run_layout(shape)),
                "issue": In(1),
                "row": In(20),
                "adding": In(1),
                "product": In(signed(shape.acc_width)),
                "weight": In(signed(shape.weight_width)),
                "exponent": In(5),
                "target": In(range(max(shape.wide_depth, shape.half_depth))),
                "y": In(signed(24)),
                "plain": In(signed(24)),
                "wide": In(1),
                "half": In(1),
                "a": Out(signed(max(24, shape.acc_width))),
                "b": Out(signed(16)),
                "add": Out(signed(24)),
                "shift": Out(5),
            }
        )

    def elaborate(self, platform):
        m = Module()
        scales, gains = self._tapes(m)
        self._shift(m, scales)
        self._first(m)
        self._second(m, scales, gains)
        return m

    def _tapes(self, m):
        """Scales and gains in their order."""
        run, control = self.run, self.run.control
        embeds = control.a >= A.EMBEDDING
        scales, scale_place = _tape(m, "scales", unsigned(4), self.image.scales)
        gains, gain_place = _tape(m, "gains", signed(8), self.image.gains)
        with m.If(run.valid & (control.b == B.SCALE) & ~embeds):
            m.d.comb += scale_place.step.eq(1)
        with m.If(run.begin & control.tape_shift):
            m.d.comb += scale_place.step.eq(1)
        with m.If(run.begin & embeds):
            m.d.comb += [
                scale_place.load.eq(1),
                scale_place.place.eq(self.shape.embedding_scale + self.row),
            ]
        m.d.comb += gain_place.step.eq(run.valid & (control.b == B.GAIN))
        with m.If(run.rewind):
            m.d.comb += [scale_place.load.eq(1), gain_place.load.eq(1)]
        return scales, gains

    def _shift(self, m, scales):
        """The shift, of the word, the tape and the exponent."""
        run, control, exponent = self.run, self.run.control, self.exponent
        base = Signal(5)
        with m.If(run.begin):
            m.d.sync += base.eq(run.word.shift + Mux(control.tape_shift, scales, 0))
        with m.Switch(control.exponent):
            with m.Case(Exponent.NONE):
                m.d.sync += self.shift.eq(base)
            with m.Case(Exponent.PLUS):
                m.d.sync += self.shift.eq(base + exponent)
            with m.Case(Exponent.HALF):
                m.d.sync += self.shift.eq(base + (exponent >> 1))
            with m.Case(Exponent.MINUS):
                m.d.sync += self.shift.eq(base - exponent)

    def _first(self, m):
        """The first operand, and what is added to results: the wide memory."""
        s, run, control = self.shape, self.run, self.run.control
        read = self._memory(m, "wide_memory", self.plain, s.wide_depth, self.image.wide, self.wide)
        place, add_place = (Signal(range(s.wide_depth), name=n) for n in ("place", "add_place"))
        phase = Signal(2)
        with m.If(self.issue):
            m.d.sync += phase.eq(phase + 1)
            with m.Switch(control.step):
                with m.Case(Step.NEXT):
                    m.d.sync += place.eq(place + 1)
                with m.Case(Step.SECOND):
                    m.d.sync += place.eq(place + 2)
                with m.Case(Step.PAIRS):
                    m.d.sync += place.eq(Mux(phase == 1, place - 1, place + 1))
        with m.If(self.adding):
            m.d.sync += add_place.eq(add_place + 1)
        with m.If(run.begin):
            m.d.sync += [place.eq(run.word.source), phase.eq(0), add_place.eq(run.word.target)]
        m.d.comb += [
            read.addr.eq(Mux(control.add == Add.WIDE, add_place, place)),
            self.add.eq(read.data),
        ]
        with m.Switch(control.a):
            with m.Case(A.WIDE):
                m.d.comb += self.a.eq(read.data)
            with m.Case(A.PRODUCT):
                m.d.comb += self.a.eq(self.product)
            with m.Default():
                m.d.comb += self.a.eq(self.weight << 12)

    def _second(self, m, scales, gains):
        """The second operand: the half memory, a scale or a gain."""
        s, run, control = self.shape, self.run, self.run.control
        read = self._memory(m, "half_memory", self.y[:16], s.half_depth, self.image.half, self.half)
        place = Signal(range(s.half_depth))
        m.d.comb += read.addr.eq(place)
        with m.If(run.begin):
            m.d.sync += place.eq(run.word.second)
        with m.Elif(self.issue & control.b_next):
            m.d.sync += place.eq(place + 1)
        value = Signal(unsigned(8))
        with m.Switch(scales):
            for code, one in enumerate(scale_values().tolist()):
                with m.Case(code):
                    m.d.comb += value.eq(one)
        with m.Switch(control.b):
            with m.Case(B.HALF):
                m.d.comb += self.b.eq(read.data)
            with m.Case(B.SCALE):
                m.d.comb += self.b.eq(value)
            with m.Default():
                m.d.comb += self.b.eq(gains)

    def _memory(self, m, name, y, depth, init, en):
        """A memory of results ``y``; how it is read."""
        m.submodules[name] = store = memory.Memory(shape=signed(len(y)), depth=depth, init=init)
        write = store.write_port()
        m.d.comb += [write.addr.eq(self.target), write.data.eq(y), write.en.eq(en)]
        return store.read_port()


def _tape(m, name, shape, init):
    """What is read once per token, in order: the value at the place, and how that moves."""
    m.submodules[name] = store = memory.Memory(shape=shape, depth=len(init), init=init)
    read = store.read_port()
    move = SimpleNamespace(
        step=Signal(name=f"{name}_step"),
        load=Signal(name=f"{name}_load"),
        place=Signal(range(len(init)), name=f"{name}_place"),
    )
    place = Signal(range(len(init)))
    m.d.comb += read.addr.eq(place)
    with m.If(move.load):
        m.d.comb += read.addr.eq(move.place)
    with m.Elif(move.step):
        m.d.comb += read.addr.eq(place + 1)
    m.d.sync += place.eq(read.addr)
    return read.data, move
