"""Block floating point: the form in which activations enter the MAC fabric."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.units.block_quantize import ACTIVATION_WIDTHS
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, magnitude
from celosia.rtl.stream.words import framed

__all__ = ["BlockQuantize"]


class BlockQuantize(wiring.Component):
    """Each word as 8-bit mantissas ``x / 2**exponent``: the smallest exponent that makes them fit.

    Mantissas are rounded half up to their upper ``mantissa_width`` bits, which are given, and
    limited to the largest of these. Bit-exact with
    :func:`celosia.reference.units.block_quantize.block_quantize`, but that its exponents are
    ``8 - mantissa_width`` more.

    Latency 2 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    width : int, 8 to 39
    tokens : int, 1 to 64
    mantissa_width : int, 8, 6, 5 or 4

    Members
    -------
    i : In(stream of framed(lanes, width, tokens))
    o : Out(stream of framed(lanes, mantissa_width, tokens, exponent=unsigned(5)))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 2

    def __init__(self, lanes, width=23, tokens=1, mantissa_width=8):
        check_range("lanes", lanes, 1, 64)
        check_range("width", width, 8, 39)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.width = width
        if mantissa_width not in ACTIVATION_WIDTHS:
            raise ValueError(f"mantissa_width must be 8, 6, 5 or 4, not {mantissa_width!r}")
        self.tokens = tokens
        self.mantissa_width = mantissa_width
        i = framed(lanes, width, tokens)
        o = framed(lanes, mantissa_width, tokens, exponent=unsigned(5))
        super().__init__({"i": In(stream.Signature(i)), "o": Out(stream.Signature(o))})

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        word, exponent = pipe.stage(self.i.p, magnitude(m, self.i.p.data, drop=7))
        mantissas = [self._mantissa(m, x, exponent) for x in word.data]
        frame = {n: word[n] for n in ("token", "index", "argument", "last")}
        frame, exponent, mantissas = pipe.stage(frame, exponent, mantissas)
        pipe.finish({**frame, "exponent": exponent, "data": mantissas})
        return m

    def _mantissa(self, m, x, exponent):
        doubled = Signal(signed(self.width + 1))
        halves = Signal(signed(9))  # the mantissa and the bit behind it
        m.d.comb += [doubled.eq(x << 1), halves.eq(doubled >> exponent)]
        dropped, most = 8 - self.mantissa_width, (1 << self.mantissa_width) - 1
        kept = halves[dropped:] if dropped else halves
        return Mux(kept == most, most >> 1, (kept + 1)[1 : self.mantissa_width + 1]).as_signed()
