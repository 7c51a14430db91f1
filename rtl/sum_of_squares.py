"""The sum of squares of each token's vector, as its words pass by."""

from amaranth import Array, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.parameters import check_range
from celosia.rtl.pipeline import Pipeline, magnitude
from celosia.rtl.words import framed, token_width

__all__ = ["SumOfSquares"]

LEADING = 12  # bits of a word's values that are squared
FAN_IN = 8  # squares added in one stage


class SumOfSquares(wiring.Component):
    """``sum(x**2) + epsilon`` of each vector of ``words`` words, each cut to 12 leading bits.

    Values are rounded down before they are squared. Bit-exact with
    :func:`celosia.reference.norm.sum_of_squares`.

    Latency 6 cycles from a vector's last word, 7 where ``lanes`` exceeds 8. Throughput 1 word per
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
        self.latency = 6 if lanes <= FAN_IN else 7
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
        vector = {
            "token": i.p.token,
            "first": i.p.index == 0,
            "final": i.p.index == self.words - 1,
        }

        # The word's own power of two, the values in its units, and their squares.
        exponent = magnitude(m, i.p.data, drop=LEADING - 1)
        vector, exponent, values = pipe.stage(vector, exponent, list(i.p.data))
        values = [(x >> exponent)[:LEADING].as_signed() for x in values]
        vector, exponent, values = pipe.stage(vector, exponent, values)
        sums = pipe.stage(vector, exponent, [x * x for x in values])

        # Their sum, in the vector's units, and the vector's.
        while len(sums[-1]) > 1:
            vector, exponent, parts = sums
            parts = [sum(parts[n : n + FAN_IN]) for n in range(0, len(parts), FAN_IN)]
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
