"""Values on their way to the cache: saturated, their heads counted."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.kv_cache.places import SLOT_WIDTH, cached_layout
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import clamp
from celosia.rtl.stream.words import framed, token_width

__all__ = ["ValueWords"]


class ValueWords(wiring.Component):
    """Turns the words of a VALUE operation into the value cache's: saturates, counts heads.

    Latency 1 cycle. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes, tokens : int, 1 to 64
    head_words : int, 1 to 256

    Members
    -------
    i : In(stream of framed(lanes, 24, tokens)), always ready
        ``argument`` is the layer. Words come index by index, each for tokens 0 to ``group``.
    group : In(unsigned)
        The last token. Constant while words come.
    slot : In(unsigned(20))
        Of ``i``'s layer and token, in the same cycle.
    o : Out(stream of cached_layout), always ready
        ``step`` is 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, tokens, head_words):
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("head_words", head_words, 1, 256)
        self.lanes = lanes
        self.tokens = tokens
        self.head_words = head_words
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, 24, tokens), always_ready=True)),
                "group": In(token_width(tokens)),
                "slot": In(SLOT_WIDTH),
                "o": Out(stream.Signature(cached_layout(lanes), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i, o = self.i.p, self.o.p
        word, head = Signal(8), Signal(8)
        with m.If(self.i.valid & (i.token == self.group)):
            m.d.sync += word.eq(word + 1)
            with m.If(word == self.head_words - 1):
                m.d.sync += [word.eq(0), head.eq(head + 1)]
            with m.If(i.last):
                m.d.sync += [word.eq(0), head.eq(0)]
        m.d.sync += [
            self.o.valid.eq(self.i.valid),
            o.layer.eq(i.argument),
            o.head.eq(head),
            o.word.eq(word),
            o.slot.eq(self.slot),
            o.last.eq(i.last),
        ]
        m.d.sync += [o.data[n].eq(clamp(i.data[n], 8)) for n in range(self.lanes)]
        return m
