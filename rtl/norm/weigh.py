"""What a norm of the residual stream is of: the stream times weights of its channels."""

from amaranth import Module, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.operations.norm import WEIGHTS_SHIFT
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.norm.gains import check_gains, read_gains
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import framed

__all__ = ["Weigh"]

SPLIT = 17  # low bits of a value, multiplied on their own


class Weigh(wiring.Component):
    """``x * weight / 2**14`` word by word, rounded half up and saturated to ``width`` bits.

    Bit-exact with :func:`celosia.reference.units.norm.gain`.

    Latency 5 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    words : int, 1 to 4096
        Words in a vector.
    width : int, 20 to 28
    weights : sequence of int16[words * lanes], 1 to 1024 of them
        One vector for each norm.
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of framed(lanes, width, tokens, norm=unsigned(10)))
        ``norm`` is the number of the weights.
    o : Out(stream of framed(lanes, width, tokens, norm=unsigned(10)))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 5

    def __init__(self, lanes, words, width, weights, tokens=1):
        check_range("lanes", lanes, 1, 64)
        check_range("words", words, 1, 4096)
        check_range("width", width, 20, 28)
        check_range("tokens", tokens, 1, 64)
        self.weights = check_gains(weights, words * lanes)
        self.lanes = lanes
        self.words = words
        self.width = width
        self.tokens = tokens
        word = framed(lanes, width, tokens, norm=unsigned(10))
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(word))})

    def elaborate(self, platform):
        m = Module()
        i = self.i.p
        pipe = Pipeline(m, self.i, self.o)
        weights = read_gains(m, self.weights, self.lanes, i.index, i.norm, pipe.advance)
        frame = {n: i[n] for n in ("token", "index", "argument", "last", "norm")}
        frame, values = pipe.stage(frame, list(i.data))
        frame, values, weights = pipe.stage(frame, values, list(weights))
        pairs = list(zip(values, weights, strict=True))
        low = [multiply_registered(m, x[:SPLIT], w, pipe.advance) for x, w in pairs]
        high = [multiply_registered(m, x[SPLIT:].as_signed(), w, pipe.advance) for x, w in pairs]
        (frame,) = pipe.stage(frame)
        (frame,) = pipe.stage(frame)
        sums = []
        for a, b in zip(high, low, strict=True):
            total = Signal(signed(self.width + 17))
            half = 1 << (WEIGHTS_SHIFT - 1)
            m.d.comb += total.eq(((a << SPLIT) + b + half) >> WEIGHTS_SHIFT)
            sums.append(clamp(total, self.width))
        frame, sums = pipe.stage(frame, sums)
        pipe.finish({**frame, "data": sums})
        return m
