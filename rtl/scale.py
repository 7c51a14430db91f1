"""The scaling stage: accumulators become fixed-point values, by row scales and a token's scalar."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.multiplier import multiply
from celosia.rtl.parameters import check_range
from celosia.rtl.pipeline import Pipeline, round_shift, shift_clamp
from celosia.rtl.words import framed

__all__ = ["Scale"]

ALIGNED = 27  # bits of an aligned accumulator
SPLIT = 17  # low bits of an aligned accumulator, multiplied on their own
GUARD = 3  # of them below the result's last place


class Scale(wiring.Component):
    """``acc * row_scale * mantissa / 2**(16 + shift)`` lane by lane, saturated to 24 bits.

    Rounds the factor ``row_scale * mantissa / 2**16`` and the product half up, the accumulator's
    alignment between them down. Bit-exact with :func:`celosia.reference.scale.scale`.

    Latency 3 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    acc_width : int, 8 to 47
    tokens : int, 1 to 64
    more
        Further members of the words, name to shape, which are passed on.

    Members
    -------
    i : In(stream of framed(lanes, acc_width, tokens, ...))
        Accumulators, with ``row_scale`` unsigned(16)[lanes], ``mantissa`` unsigned(17) of at most
        2**16, and ``shift`` signed(8), where all below 3 count as 3.
    o : Out(stream of framed(lanes, 24, tokens, ...))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 3

    def __init__(self, lanes, acc_width, tokens=1, **more):
        check_range("lanes", lanes, 1, 64)
        check_range("acc_width", acc_width, 8, 47)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.acc_width = acc_width
        self.tokens = tokens
        self.more = more
        scales = {
            "row_scale": data.ArrayLayout(unsigned(16), lanes),
            "mantissa": unsigned(17),
            "shift": signed(8),
        }
        i = framed(lanes, acc_width, tokens, **scales, **more)
        o = framed(lanes, 24, tokens, **more)
        super().__init__({"i": In(stream.Signature(i)), "o": Out(stream.Signature(o))})

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        word = self.i.p
        frame = {n: word[n] for n in ("token", "index", "argument", "last", *self.more)}

        # 1: the factor; beside it the accumulator moves to its place.
        shift = Signal(6)
        small = word.shift[7] | (word.shift[2:7] == 0)  # 3 = GUARD and less
        large = word.shift[6]
        m.d.comb += shift.eq(Mux(small, GUARD, Mux(large, 63, word.shift[:6])))
        products = [multiply(m, row, word.mantissa) for row in word.row_scale]
        factors = [(p + (1 << 15))[16:32] for p in products]
        places = Const(0, 16 + GUARD)
        wide = [Cat(places, acc).as_signed() for acc in word.data]
        aligned = [shift_clamp(m, acc, shift, ALIGNED) for acc in wide]
        frame, factors, aligned = pipe.stage(frame, factors, aligned)

        # 2: the product, in two parts.
        low = [multiply(m, a[:SPLIT], f) for a, f in zip(aligned, factors, strict=True)]
        high = [a[SPLIT:].as_signed() * f for a, f in zip(aligned, factors, strict=True)]
        frame, low, high = pipe.stage(frame, low, high)

        # 3: their sum and its rounding. 27 bits times less than 2**16 need no further saturation.
        products = [(b << SPLIT) + a for a, b in zip(low, high, strict=True)]
        rounding = 16 + GUARD
        values = [round_shift(m, p, rounding, rounding) for p in products]
        frame, values = pipe.stage(frame, values)
        pipe.finish({**frame, "data": values})
        return m
