"""The Hadamard transform of vectors that stream by."""

from amaranth import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.reference.units.hadamard import core, factors, hadamard_matrix, scaling
from celosia.rtl.quantize.hadamard_stages import Butterfly, Core, butterflies, tagged
from celosia.rtl.stream.buffer import Buffer
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.frame_guard import FrameGuard
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import INDEX_WIDTH, framed

__all__ = ["Hadamard"]

SPLIT = 17  # low bits of a sum, multiplied on their own


class Hadamard(wiring.Component):
    """``H x / sqrt(n)`` of each vector, ``H = hadamard_matrix(n, lanes)``; its own inverse.

    Sums are exact inside, multiplied by 1 / sqrt(n) to 17 significant bits, rounded once (half up)
    and saturated to ``o_width`` bits. Bit-exact with
    :func:`celosia.reference.units.hadamard.hadamard`.

    Latency :attr:`latency`, about ``n / lanes + 3 * log2(n / lanes)`` cycles, from a vector's first
    word to its result's. Throughput 1 word per cycle, vector on vector.

    Parameters
    ----------
    n : int, 2 to 32768
        A power of two, or one times 12, 20, 28, 36, 52, 60, 76, 84, 100, 108, 124 or 148.
    lanes : int, a power of two from 1 to 64
        ``n`` must be a multiple of it, and of its product with the factor that is not a power.
    width : int, 4 to 24
    o_width : int, 4 to 24, optional
        ``width`` by default: holds all but vectors of extreme values on a row of ``H``.
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of framed(lanes, width, tokens))
        The words of one vector after those of another, each from index 0 to ``n / lanes - 1``;
        ``token`` and ``argument`` as in the vector's last word.
    o : Out(stream of framed(lanes, o_width, tokens))
        In the unit of ``i``.
    error : Out(1)
        A vector was not whole; see :class:`celosia.rtl.stream.frame_guard.FrameGuard`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Fino and Algazi 1976 (the fast transform); Paley 1933 (cores that are not powers of two).
    """

    def __init__(self, n, lanes, width, o_width=None, tokens=1):
        o_width = width if o_width is None else o_width
        check_range("n", n, 2, 32768)
        check_power_of_two("lanes", lanes, 64)
        check_range("width", width, 4, 24)
        check_range("o_width", o_width, 4, 24)
        check_range("tokens", tokens, 1, 64)
        outer, order, _ = factors(n, lanes)
        self.n = n
        self.lanes = lanes
        self.width = width
        self.o_width = o_width
        self.tokens = tokens
        self._core = core(order)
        if order == 1:  # the last two butterflies in time are cheaper as one small core
            small = min(outer, 4)
            self._core = hadamard_matrix(small, 1)
            outer //= small
        order = len(self._core)
        self._distances = [order << k for k in reversed(range(exact_log2(outer)))]
        levels = exact_log2(lanes)
        self.latency = sum(d + 3 for d in self._distances) + (order + 1) * (order > 1)
        self.latency += -(-levels // 2) + 5
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, width, tokens))),
                "o": Out(stream.Signature(framed(lanes, o_width, tokens))),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = self.n // self.lanes
        m.submodules.guard = guard = FrameGuard(self.i.p.shape(), words)
        wiring.connect(m, wiring.flipped(self.i), guard.i)
        m.d.comb += self.error.eq(guard.error)
        i = stream.Signature(tagged(self.lanes, self.width, self.tokens)).create()
        m.d.comb += [i.valid.eq(guard.o.valid), guard.o.ready.eq(i.ready)]
        names = ("data", "token", "argument", "last")
        m.d.comb += [i.p[name].eq(guard.o.p[name]) for name in names]

        width = self.width
        for distance in self._distances:
            stage = Butterfly(self.lanes, width, distance, self.tokens)
            i, width = self._append(m, stage, i), width + 1
        i = self._append(m, Buffer(i.p.shape()), i)  # cuts the way of ready through all of them
        if len(self._core) > 1:
            stage = Core(self.lanes, width, self._core, self.tokens)
            i, width = self._append(m, stage, i), stage.o_width

        # Inside the word, two levels of butterflies at a time; then the one rounding.
        pipe = Pipeline(m, i, self.o)
        tag = {name: i.p[name] for name in ("token", "argument", "last")}
        x = list(i.p.data)
        for level in range(0, exact_log2(self.lanes), 2):
            for distance in (1 << level, 2 << level):
                if distance < self.lanes:
                    x = butterflies(x, distance)
            tag, x = pipe.stage(tag, x)
        mantissa, shift = scaling(self.n)
        mantissa = Const(mantissa, 17)
        wide = len(x[0]) > SPLIT + 1
        low = [(v[:SPLIT] if wide else v) * mantissa for v in x]
        high = [v[SPLIT:].as_signed() * mantissa if wide else Const(0, 1) for v in x]
        tag, low, high = pipe.stage(tag, low, high)
        half = 1 << (shift - 1)
        sums = [(b << SPLIT) + a + half for a, b in zip(low, high, strict=True)]
        tag, sums = pipe.stage(tag, [s[shift:].as_signed() for s in sums])
        tag, y = pipe.stage(tag, [clamp(v, self.o_width) for v in sums])
        pipe.finish({**tag, "data": y})
        index = Signal(INDEX_WIDTH)
        m.d.comb += self.o.p.index.eq(index)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += index.eq(Mux(index == words - 1, 0, index + 1))
        return m

    def _append(self, m, stage, i):
        """Connect ``stage`` behind the stream ``i``; its output."""
        m.submodules += stage
        m.d.comb += [
            stage.i.payload.eq(i.payload),
            stage.i.valid.eq(i.valid),
            i.ready.eq(stage.i.ready),
        ]
        return stage.o
