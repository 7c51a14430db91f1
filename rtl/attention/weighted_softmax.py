"""Softmax in blocks whose powers are multiplied by the steps of the values that they weight."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.reference.units.softmax import TOTAL_PLACES
from celosia.rtl.attention.softmax_block import TABLE, SoftmaxBlock
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import INDEX_WIDTH, framed

__all__ = ["STEP_WIDTH", "WeightedSoftmaxBlock", "total_width"]

STEP_WIDTH = 7  # bits of a step's logarithm
PLACE = TABLE - 3  # of a step's lowest bit, an eighth, in a score


def total_width(lanes):
    """Bits of a block's total."""
    return 7 + ceil_log2(lanes) + TOTAL_PLACES


class WeightedSoftmaxBlock(wiring.Component):
    """``127 * 2**(score + step / 8 - exponent)``, and the sum of the powers without steps.

    Two :class:`celosia.rtl.attention.softmax_block.SoftmaxBlock` side by side, one of which sees
    saturated scores raised by their values' steps. ``total`` is the sum of the other one's powers,
    in units of ``2**-9`` of ``exponent``'s. Bit-exact with
    :func:`celosia.reference.units.softmax.weighted_block`.

    Latency 6 cycles, 7 where ``lanes`` exceeds 8. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes, tokens, fraction, width, views, most_words
        Of the blocks; ``width`` is at most 23, or 24 where ``fraction`` is below 8.

    Members
    -------
    position, seen
        Of the blocks.
    i : In(stream of framed(lanes, 24, tokens, value_steps=unsigned(7)[lanes]))
        Steps are at most 72: 9 octaves.
    o : Out(stream of framed(lanes, unsigned(7), tokens, exponent=signed(whole + 3), total))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(
        self, lanes, tokens=1, fraction=TABLE, width=16, views=(), most_words=1 << INDEX_WIDTH
    ):
        self.plain = SoftmaxBlock(lanes, tokens, fraction, width, views, most_words)
        whole = self.plain.whole
        check_range("whole", whole, TABLE, 24 - TABLE - 1)
        self.raised = SoftmaxBlock(lanes, tokens, TABLE, TABLE + whole + 1, views, most_words)
        self.lanes = lanes
        self.tokens = tokens
        self.views = self.plain.views
        self.most_words = most_words
        self.windows = self.plain.windows
        self.latency = self.plain.latency + 3
        members = dict(self.plain.signature.members)
        word = dict(self.plain.i.p.shape().members)
        steps = data.ArrayLayout(unsigned(STEP_WIDTH), lanes)
        more = {n: word[n] for n in word if n == "view"}
        total = unsigned(total_width(lanes))
        o = framed(lanes, unsigned(7), tokens, exponent=signed(whole + 3), total=total)
        bounds = {name: members[name] for name in members if name not in "io"}
        super().__init__(
            {
                **bounds,
                "i": In(stream.Signature(framed(lanes, 24, tokens, value_steps=steps, **more))),
                "o": Out(stream.Signature(o)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.plain, m.submodules.raised = plain, raised = self.plain, self.raised
        bound = "seen" if self.windows else "position"
        m.d.comb += [getattr(unit, bound).eq(getattr(self, bound)) for unit in (plain, raised)]
        self._raise(m)
        # The two stall together: they have the same pipeline.
        pipe = Pipeline(m, plain.o, self.o)
        m.d.comb += raised.o.ready.eq(plain.o.ready)
        frame = {n: raised.o.p[n] for n in raised.o.p.shape().members if n != "data"}
        total = Signal(7 + ceil_log2(self.lanes))
        distance = Signal(range(TOTAL_PLACES + 1))
        m.d.comb += [
            total.eq(sum(plain.o.p.data[1:], plain.o.p.data[0])),
            distance.eq(plain.o.p.exponent + TOTAL_PLACES - raised.o.p.exponent),
        ]
        frame, powers, total, distance = pipe.stage(
            frame, list(raised.o.p.data), total, Mux(total == 0, 0, distance)
        )
        frame, powers, total = pipe.stage(frame, powers, total << distance)
        pipe.finish({**frame, "data": powers, "total": total})
        return m

    def _raise(self, m):
        """Words to the two blocks, a stage later."""
        plain, raised = self.plain, self.raised
        words = stream.Signature(self.i.p.shape()).create()
        higher = Signal(raised.i.p.data.shape())
        pipe = Pipeline(m, self.i, words)
        bits = TABLE + plain.whole
        scores = [clamp(x << (TABLE - plain.fraction), bits) for x in self.i.p.data]
        scores = [x + (step << PLACE) for x, step in zip(scores, self.i.p.value_steps, strict=True)]
        word, scores = pipe.stage(self.i.p, scores)
        pipe.finish(word)
        m.d.comb += [a.eq(x) for a, x in zip(higher, scores, strict=True)]
        m.d.comb += words.ready.eq(plain.i.ready)
        for unit in (plain, raised):
            m.d.comb += unit.i.valid.eq(words.valid)
            for name, _ in unit.i.p.shape():
                m.d.comb += unit.i.p[name].eq(words.p[name])
        m.d.comb += raised.i.p.data.eq(higher)
        return m
