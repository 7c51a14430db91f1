"""Biases, added to the words of the operations that have them."""

from amaranth import Module, Mux, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.units.bias import BIAS_WIDTH
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import framed

__all__ = ["Bias"]


class Bias(wiring.Component):
    """``saturate(x + bias, 24)`` of the words that say so; others pass.

    One word of biases serves all tokens of an index: it is taken with the word that is marked as
    the last of them, so that nothing need know how many there are, or which comes first. Bit-exact
    with :func:`celosia.reference.units.bias.bias`.

    Latency 1 cycle. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    tokens : int, 1 to 64
    more
        Further members of the words, name to shape, which are passed on.

    Members
    -------
    i : In(stream of framed(lanes, 24, tokens, bias=1, last_token=1, ...))
        ``bias`` is set in all words of an operation that has biases, ``last_token`` in the last
        word of each index.
    biases : In(stream of signed(24)[lanes])
        One word for each index of each operation that has biases, in units of ``i``. A word that
        has none coming does not wait for them.
    o : Out(stream of framed(lanes, 24, tokens, ...))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 1

    def __init__(self, lanes, tokens=1, **more):
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.tokens = tokens
        self.more = more
        i = framed(lanes, BIAS_WIDTH, tokens, bias=1, last_token=1, **more)
        biases = data.ArrayLayout(signed(BIAS_WIDTH), lanes)
        o = framed(lanes, BIAS_WIDTH, tokens, **more)
        super().__init__(
            {
                "i": In(stream.Signature(i)),
                "biases": In(stream.Signature(biases)),
                "o": Out(stream.Signature(o)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word, go = self.i.p, ~self.i.p.bias | self.biases.valid
        joined = stream.Signature(word.shape()).create()
        pipe = Pipeline(m, joined, self.o)
        m.d.comb += [
            joined.valid.eq(self.i.valid & go),
            self.i.ready.eq(joined.ready & go),
            self.biases.ready.eq(self.i.valid & joined.ready & word.bias & word.last_token),
        ]
        values = [
            clamp(x + Mux(word.bias, b, 0), BIAS_WIDTH)
            for x, b in zip(word.data, self.biases.payload, strict=True)
        ]
        frame = {n: word[n] for n in ("token", "index", "argument", "last", *self.more)}
        frame, values = pipe.stage(frame, values)
        pipe.finish({**frame, "data": values})
        return m
