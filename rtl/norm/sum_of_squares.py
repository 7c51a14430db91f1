"""The sum of squares of each token's vector, as its words pass by."""

from amaranth import Array, Cat, Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.carry_save import carry_save_sum
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, bit_length
from celosia.rtl.stream.words import framed, token_width

__all__ = ["SumOfSquares"]

LEADING = 12  # bits of a word's values that are squared
HALF = LEADING // 2
FAN_IN = 8  # squares added in one stage


class SumOfSquares(wiring.Component):
    """``sum(x**2) + epsilon`` of each vector of ``words`` words, each cut to 12 leading bits.

    Values are rounded down before they are squared: enough for an RMSNorm, not for a variance (see
    :class:`celosia.rtl.norm.norm_statistics.NormStatistics`). Bit-exact with
    :func:`celosia.reference.units.norm.sum_of_squares`.

    Latency 8 cycles from a vector's last word, 9 where ``lanes`` exceeds 8. Throughput 1 word per
    cycle. Vectors of different tokens may be interleaved.

    Parameters
    ----------
    lanes : int, 2 to 64
    words : int, 1 to 4096
    width : int, 12 to 28
    epsilon : int, 1 or more
    tokens : int, 1 to 64
        ``lanes * words * 4**(width - 1) + epsilon`` must be below ``2**62``.

    Members
    -------
    i : In(stream of framed(lanes, width, tokens), always ready)
        Each token's words from index 0 to ``words - 1``.
    o : Out(stream of {token, total: unsigned(total_width)}, always ready)

    Raises
    ------
    ValueError
        If a parameter is out of range, or a sum could be.
    """

    def __init__(self, lanes, words, width, epsilon, tokens=1):
        check_range("lanes", lanes, 2, 64)
        check_range("words", words, 1, 4096)
        check_range("width", width, LEADING, 28)
        check_range("tokens", tokens, 1, 64)
        if epsilon < 1:
            raise ValueError(f"epsilon must be at least 1, not {epsilon!r}")
        largest = lanes * words * 4 ** (width - 1) + epsilon
        if largest >= 1 << 62:
            formula = "lanes * words * 4**(width - 1) + epsilon"
            raise ValueError(f"{formula} must be below 2**62, not {largest}")
        self.lanes = lanes
        self.words = words
        self.width = width
        self.epsilon = epsilon
        self.tokens = tokens
        self.total_width = largest.bit_length()
        self.latency = 8 if lanes <= FAN_IN else 9
        o = data.StructLayout(
            {"token": unsigned(token_width(tokens)), "total": unsigned(self.total_width)}
        )
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, width, tokens), always_ready=True)),
                "o": Out(stream.Signature(o, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i = stream.Signature(self.i.p.shape()).create()
        m.d.comb += [i.payload.eq(self.i.p), i.valid.eq(self.i.valid)]
        pipe = Pipeline(m, i, self.o)  # never stalls
        place = i.p.index[: max((self.words - 1).bit_length(), 1)]
        vector = {
            "token": i.p.token,
            "first": place == 0,
            "final": place == self.words - 1,
        }

        # The word's own power of two, the values in its units, and their squares.
        folded = 0
        for x in i.p.data:
            folded = folded | (x ^ x[-1].replicate(self.width))[LEADING - 1 : -1]
        vector, folded, values = pipe.stage(vector, folded, list(i.p.data))
        vector, exponent, values = pipe.stage(vector, bit_length(folded), values)
        values = [(x >> exponent)[:LEADING].as_signed() for x in values]
        vector, exponent, values = pipe.stage(vector, exponent, values)
        vector, exponent, parts = pipe.stage(vector, exponent, [_square(m, x) for x in values])
        squares = [(even + (twice << (HALF + 1)))[: 2 * LEADING - 1] for even, twice in parts]
        sums = pipe.stage(vector, exponent, squares)

        # Their sum, in the vector's units, and the vector's.
        while len(sums[-1]) > 1:
            vector, exponent, parts = sums
            parts = [_sum(m, parts[n : n + FAN_IN]) for n in range(0, len(parts), FAN_IN)]
            sums = pipe.stage(vector, exponent, parts)
        vector, exponent, (part,) = sums
        addend = Signal(self.total_width)
        m.d.comb += addend.eq(part << (exponent << 1))
        vector, addend = pipe.stage(vector, addend)
        totals = Array(Signal(self.total_width, name=f"total_{t}") for t in range(self.tokens))
        total = Signal(self.total_width)
        m.d.comb += total.eq(addend + Mux(vector["first"], self.epsilon, totals[vector["token"]]))
        with m.If(pipe.valid):
            m.d.sync += totals[vector["token"]].eq(total)
        m.d.sync += [
            self.o.valid.eq(pipe.valid & vector["final"]),
            self.o.p.token.eq(vector["token"]),
            self.o.p.total.eq(total),
        ]
        return m


def _square(m, x):
    """The squares of the halves of ``x``, side by side, and the product of the halves.

    Functions of six bits each, but for the sum of the product's three rows.
    """
    low, high = x[:HALF], x[HALF:].as_signed()
    quarter = HALF // 2
    a, b, c, d = high[quarter:].as_signed(), high[:quarter], low[quarter:], low[:quarter]
    even = Cat(_product(m, low, low), _product(m, high, high))
    ends = Cat(_product(m, b, d), _product(m, a, c)).as_signed()
    rows = [ends, _product(m, a, d) << quarter, _product(m, b, c) << quarter]
    return [even, carry_save_sum(m, rows, LEADING).as_signed()]


def _product(m, a, b):
    """``a * b`` as a table of its bits."""
    bits, signed_ = Cat(a) if a is b else Cat(a, b), a.shape().signed
    product = Signal(Shape(len(a) + len(b), signed_), name="product")
    with m.Switch(bits):
        for code in range(1 << len(bits)):
            x, y = code & (1 << len(a)) - 1, code >> len(a)
            if signed_ and x >> (len(a) - 1):
                x -= 1 << len(a)
            with m.Case(code):
                m.d.comb += product.eq(x * (x if a is b else y))
    return product


def _sum(m, parts):
    width = len(parts[0]) + (len(parts) - 1).bit_length()
    return carry_save_sum(m, parts, width) if len(parts) > 1 else parts[0]
