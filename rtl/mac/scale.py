"""The scaling stage: accumulators become fixed-point values, by row scales and a token's scalar."""

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.carry_save import carry_save_sum, multiply_rows
from celosia.rtl.arithmetic.multiplier import multiply, multiply_registered
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, moved
from celosia.rtl.stream.words import framed

__all__ = ["Scale", "alignment", "alignment_width"]

ALIGNED = 27  # bits of an aligned accumulator
SPLIT = 17  # low bits of an aligned accumulator, multiplied on their own
NARROW = 47  # bits of an accumulator of which a shift of 63 leaves nothing that counts
GUARD = 3  # of them below the result's last place
SHORT = 3  # bits of the distance that move it in the second stage
HALF = 5  # bits of its middle part
PORTABLE = 12  # bits of a row scale that are multiplied in one sum without a block; others follow


class Scale(wiring.Component):
    """``acc * row_scale * mantissa / 2**(16 + shift)`` lane by lane, saturated to 24 bits.

    Rounds the factor ``row_scale * mantissa / 2**16`` and the product half up, the accumulator's
    alignment between them down. Bit-exact with :func:`celosia.reference.units.scale.scale`.

    Latency 4 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    acc_width : int, 8 to 56
    tokens : int, 1 to 64
    portable : bool
        The factors are made without multiplier blocks.
    more
        Further members of the words, name to shape, which are passed on.

    Members
    -------
    i : In(stream of framed(lanes, acc_width, tokens, ...))
        Accumulators, with ``row_scale`` unsigned(16)[lanes], ``mantissa`` unsigned(17) of at most
        2**16, and the ``shift`` as :func:`alignment` limits it.
    o : Out(stream of framed(lanes, 24, tokens, ...))
    limited : Out(lanes)
        Which of ``o``'s values are of an accumulator that reached 27 bits when aligned, by
        :func:`celosia.reference.units.scale.limited`.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 4

    def __init__(self, lanes, acc_width, tokens=1, portable=False, **more):
        check_range("lanes", lanes, 1, 64)
        check_range("acc_width", acc_width, 8, 56)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.acc_width = acc_width
        self.tokens = tokens
        self.portable = portable
        self.more = more
        scales = {
            "row_scale": data.ArrayLayout(unsigned(16), lanes),
            "mantissa": unsigned(17),
            "shift": alignment_width(acc_width),
        }
        i = framed(lanes, acc_width, tokens, **scales, **more)
        o = framed(lanes, 24, tokens, **more)
        super().__init__(
            {
                "i": In(stream.Signature(i)),
                "o": Out(stream.Signature(o)),
                "limited": Out(lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        word = self.i.p
        frame = {n: word[n] for n in ("token", "index", "argument", "last", *self.more)}

        # 1: the unrounded factor; beside it the accumulator makes its long moves.
        products = [_factor(m, row, word.mantissa, self.portable) for row in word.row_scale]
        distance = word.shift
        raised = [Cat(Const(0, 16 + GUARD), acc).as_signed() for acc in word.data]
        far, near = range(SHORT, len(distance))[::-1], range(SHORT)[::-1]
        values = [moved(m, x, distance, far, ALIGNED) for x in raised]
        lost = _overflowing(m, distance, self.acc_width)
        losses = [((acc[:-1] ^ acc[-1].replicate(len(lost))) & lost) for acc in word.data]
        losses = [Cat(bits[n : n + 4].any() for n in range(0, len(bits), 4)) for bits in losses]
        signs = [acc[-1] for acc in word.data]
        frame, products, values, short, losses, signs = pipe.stage(
            frame, products, values, distance[:SHORT], losses, signs
        )

        # 2: the factor, and the short moves.
        factors = [Signal(16, name=f"factor_{n}") for n in range(self.lanes)]
        aligned = [moved(m, x, short, near, ALIGNED) for x in values]
        for factor, p in zip(factors, products, strict=True):
            m.d.comb += factor.eq((sum(p) + (1 << 15))[16:])
        low = [
            multiply_registered(m, a[:SPLIT], f, pipe.advance)
            for a, f in zip(aligned, factors, strict=True)
        ]
        overflows = [bits.any() for bits in losses]
        frame, factors, high, overflows, signs = pipe.stage(
            frame, factors, [a[SPLIT:] for a in aligned], overflows, signs
        )

        # 3: the product in three parts, the low one by a block; what it saturates to.
        parts = [(a[:HALF], a[HALF:].as_signed(), f) for a, f in zip(high, factors, strict=True)]
        middle = [multiply_rows(m, a, f) for a, _, f in parts]
        high = [multiply_rows(m, a, f) for _, a, f in parts]
        limits = [Mux(sign, -f, f) for sign, f in zip(signs, factors, strict=True)]
        frame, middle, high, overflows, limits = pipe.stage(frame, middle, high, overflows, limits)

        # 4: their sum, rounded. 27 bits times less than 2**16 need no further saturation.
        values = []
        rounding = 16 + GUARD
        half = 1 << (rounding - 1 - SPLIT)
        for a, b, c, overflow, limit in zip(low, middle, high, overflows, limits, strict=True):
            total = carry_save_sum(m, [a[SPLIT:], b, c << HALF, Const(half)], len(c) + HALF)
            rounded = total.as_signed() >> (rounding - SPLIT)
            limit = limit << (ALIGNED - 1 - rounding)
            values.append(Mux(overflow, limit, rounded)[:24].as_signed())
        frame, values, overflows = pipe.stage(frame, values, overflows)
        m.d.comb += self.limited.eq(Cat(overflows))
        pipe.finish({**frame, "data": values})
        return m


def _factor(m, row_scale, mantissa, portable):
    """Their product by a block; ``portable`` as two summands, since it takes longer."""
    if not portable:
        return [multiply(m, row_scale, mantissa)]
    low, high = row_scale[:PORTABLE], row_scale[PORTABLE:]
    return [multiply_rows(m, low, mantissa), multiply_rows(m, high, mantissa) << PORTABLE]


def alignment_width(acc_width):
    """Bits of the shift of accumulators of ``acc_width`` bits."""
    return 7 if acc_width > NARROW else 6


def alignment(m, shift, acc_width):
    """A signed(8) ``shift`` limited to 3, which is GUARD, and to what moves all out of sight.

    That is 63, or 127 of accumulators of more than 47 bits.
    """
    distance = Signal(alignment_width(acc_width), name="alignment")
    raised = Signal()
    if acc_width > NARROW:
        m.d.comb += [
            raised.eq(shift[7] | (shift[2:7] == 0)),
            distance[:2].eq(shift[:2] | raised.replicate(2)),
            distance[2:].eq(shift[2:7] & ~shift[7].replicate(5)),
        ]
        return distance
    m.d.comb += [
        raised.eq(shift[7] | shift[6] | (shift[2:6] == 0)),
        distance[:2].eq(shift[:2] | raised.replicate(2)),
        distance[2:].eq((shift[2:6] | shift[6].replicate(4)) & ~shift[7].replicate(4)),
    ]
    return distance


def _overflowing(m, distance, acc_width):
    """For each bit of an accumulator but its sign, whether ``distance`` leaves no place for it."""
    places = ALIGNED - 1 - 16 - GUARD  # for an accumulator that is not shifted
    bits = Signal(acc_width - 1, name="overflowing")
    for n in range(places + GUARD, acc_width - 1):
        m.d.comb += bits[n].eq(_at_most(distance, n - places))
    return bits


def _at_most(bits, limit):
    """Whether the unsigned ``bits`` are at most ``limit``, without a carry chain."""
    result = Const(1, 1)
    for n, bit in enumerate(bits):
        result = (~bit | result) if limit >> n & 1 else (~bit & result)
    return result
