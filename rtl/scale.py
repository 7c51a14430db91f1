"""The scaling stage: accumulators become fixed-point values, by row scales and a token's scalar."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.multiplier import multiply
from celosia.rtl.parameters import check_range
from celosia.rtl.pipeline import Pipeline
from celosia.rtl.words import framed

__all__ = ["Scale"]

ALIGNED = 27  # bits of an aligned accumulator
SPLIT = 17  # low bits of an aligned accumulator, multiplied on their own
NARROW = 47  # bits of an accumulator of which a shift of 63 leaves nothing that counts
GUARD = 3  # of them below the result's last place


class Scale(wiring.Component):
    """``acc * row_scale * mantissa / 2**(16 + shift)`` lane by lane, saturated to 24 bits.

    Rounds the factor ``row_scale * mantissa / 2**16`` and the product half up, the accumulator's
    alignment between them down. Bit-exact with :func:`celosia.reference.scale.scale`.

    Latency 3 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    acc_width : int, 8 to 56
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
        check_range("acc_width", acc_width, 8, 56)
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
        products = [multiply(m, row, word.mantissa) for row in word.row_scale]
        factors = [(p + (1 << 15))[16:32] for p in products]
        distance = _distance(m, word.shift, self.acc_width)
        aligned = [_aligned(m, acc, distance) for acc in word.data]
        lost = _overflowing(m, word.shift, self.acc_width)
        losses = [((acc[:-1] ^ acc[-1].replicate(len(lost))) & lost) for acc in word.data]
        losses = [Cat(bits[n : n + 4].any() for n in range(0, len(bits), 4)) for bits in losses]
        signs = [acc[-1] for acc in word.data]
        frame, factors, aligned, losses, signs = pipe.stage(frame, factors, aligned, losses, signs)

        # 2: the product, in two parts, and half of the last place; what saturates: sign, factor.
        rounding = 16 + GUARD
        half = 1 << (rounding - 1 - SPLIT)
        low = [multiply(m, a[:SPLIT], f) for a, f in zip(aligned, factors, strict=True)]
        high = [a[SPLIT:].as_signed() * f + half for a, f in zip(aligned, factors, strict=True)]
        overflows = [bits.any() for bits in losses]
        limits = [Mux(sign, -f, f) for sign, f in zip(signs, factors, strict=True)]
        frame, low, high, overflows, limits = pipe.stage(frame, low, high, overflows, limits)

        # 3: their sum, rounded. 27 bits times less than 2**16 need no further saturation.
        values = []
        for a, b, overflow, limit in zip(low, high, overflows, limits, strict=True):
            rounded = ((b << SPLIT) + a) >> rounding
            limit = limit << (ALIGNED - 1 - rounding)
            values.append(Mux(overflow, limit, rounded)[:24].as_signed())
        frame, values = pipe.stage(frame, values)
        pipe.finish({**frame, "data": values})
        return m


def _distance(m, shift, acc_width):
    """``shift`` limited to 3, which is GUARD, and to 63 where that moves all out of sight."""
    raised = Signal()
    if acc_width > NARROW:
        distance = Signal(7)
        m.d.comb += [
            raised.eq(shift[7] | (shift[2:7] == 0)),
            distance[:2].eq(shift[:2] | raised.replicate(2)),
            distance[2:].eq(shift[2:7] & ~shift[7].replicate(5)),
        ]
        return distance
    distance = Signal(6)
    m.d.comb += [
        raised.eq(shift[7] | shift[6] | (shift[2:6] == 0)),
        distance[:2].eq(shift[:2] | raised.replicate(2)),
        distance[2:].eq((shift[2:6] | shift[6].replicate(4)) & ~shift[7].replicate(4)),
    ]
    return distance


def _aligned(m, acc, distance):
    """``acc * 2**(16 + GUARD) / 2**distance``, rounded down and cut to its low bits."""
    x = Cat(Const(0, 16 + GUARD), acc).as_signed()
    for k in reversed(range(len(distance))):  # the long moves first: fewer bits, known sooner
        moved = Signal(signed(min(len(x), ALIGNED + (1 << k) - 1)), name=f"moved_{k}")
        m.d.comb += moved.eq(Mux(distance[k], x >> (1 << k), x))
        x = moved
    return x


def _overflowing(m, shift, acc_width):
    """For each bit of an accumulator but its sign, whether ``shift`` leaves no place for it."""
    places = ALIGNED - 1 - 16 - GUARD  # for an accumulator that is not shifted
    bits = Signal(acc_width - 1, name="overflowing")
    for n in range(places + GUARD, acc_width - 1):
        within = _at_most(shift[:6], n - places)
        m.d.comb += bits[n].eq(shift[7] | (~shift[6] & within))
    return bits


def _at_most(bits, limit):
    """Whether the unsigned ``bits`` are at most ``limit``, without a carry chain."""
    result = Const(1, 1)
    for n, bit in enumerate(bits):
        result = (~bit | result) if limit >> n & 1 else (~bit & result)
    return result
