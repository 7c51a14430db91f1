"""What a stream of vectors is when its framing is broken: whole vectors, and an error flag."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.parameters import check_range
from celosia.rtl.pipeline import Pipeline
from celosia.rtl.words import INDEX_WIDTH

__all__ = ["FrameGuard"]


class FrameGuard(wiring.Component):
    """Passes words whose indices count 0, 1, ... ``words - 1``, and makes whole vectors of others.

    A vector that breaks off (a wrong index, or ``last`` before its end) is filled up with zeros; an
    early ``last`` then marks its last word. Words from there to the next index 0 are dropped.

    Latency 1 cycle. Throughput 1 word per cycle; a missing word costs one.

    Parameters
    ----------
    layout : StructLayout of :func:`celosia.rtl.words.framed`
    words : int, 1 to 65536
        Words in a vector.

    Members
    -------
    i : In(stream of layout)
    o : Out(stream of layout)
    error : Out(1)
        Set for good, until reset, by the first violation.

    Raises
    ------
    ValueError
        If ``words`` is out of range.
    """

    def __init__(self, layout, words):
        check_range("words", words, 1, 65536)
        self.layout = layout
        self.words = words
        super().__init__(
            {"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout)), "error": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, stream.Signature(self.layout).create()
        pipe = Pipeline(m, o, self.o)
        pipe.finish(*pipe.stage(o.p))
        place, final, cut = Signal(INDEX_WIDTH), Signal(), Signal()
        right, pad, drop = Signal(), Signal(), Signal()
        m.d.comb += [
            final.eq(place == self.words - 1),
            right.eq(i.p.index == place),
            pad.eq((place != 0) & (cut | (i.valid & ~right))),
            drop.eq((place == 0) & i.valid & ~right),
            o.valid.eq((i.valid & right) | pad),
            i.ready.eq(drop | (o.ready & ~pad)),
        ]
        with m.If(pad):
            m.d.comb += [o.p.index.eq(place), o.p.last.eq(final & cut)]
        with m.Else():
            m.d.comb += o.p.eq(i.p)
            m.d.comb += o.p.last.eq(i.p.last & final)
        with m.If(o.valid & o.ready):
            m.d.sync += place.eq(place + 1)
            with m.If(~pad & i.p.last & ~final):
                m.d.sync += [cut.eq(1), self.error.eq(1)]
            with m.If(final):
                m.d.sync += [place.eq(0), cut.eq(0)]
        with m.If(pad | drop):
            m.d.sync += self.error.eq(1)
        return m
