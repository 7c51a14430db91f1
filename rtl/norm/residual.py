"""The residual stream: its memory, and the adder in front of it."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import framed

__all__ = ["Residual"]


class Residual(wiring.Component):
    """Stores ``saturate(x)``, or adds: ``saturate(memory + x)``; passes on what it has stored.

    With ``quiet`` each word says whether it is passed on, too (``normed``).

    Every token of the group has its own vector of ``words`` words. An operation touches each of
    its tokens' words once, those of a token from the first to the last, and may follow the one
    before it at once.

    Latency 3 cycles. Throughput 1 word per cycle, but a word comes at least 3 cycles after another
    one of the same place, so that vectors of only one or two words may wait.

    Parameters
    ----------
    lanes : int, 1 to 64
    words : int, 1 to 4096
        Words in a vector.
    width : int, 20 to 28
        Bits of a stored value.
    tokens : int, 1 to 64
    quiet : bool
        Whether some words are only stored.

    Members
    -------
    i : In(stream of framed(lanes, 24, tokens, keep=1, norm=unsigned(10), [normed=1]))
        ``index`` is below ``words``. With ``keep`` the word is added, otherwise it is stored.
    o : Out(stream of framed(lanes, width, tokens, norm=unsigned(10)))
    ended : Out(1)
        Where words are only stored: a cycle after an operation's last one was.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 3

    def __init__(self, lanes, words, width, tokens=1, quiet=False):
        check_range("lanes", lanes, 1, 64)
        check_range("words", words, 1, 4096)
        check_range("width", width, 20, 28)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.words = words
        self.width = width
        self.tokens = tokens
        self.quiet = quiet
        more = {"keep": unsigned(1), "norm": unsigned(10)}
        i = framed(lanes, 24, tokens, **more, **({"normed": unsigned(1)} if quiet else {}))
        o = framed(lanes, width, tokens, norm=unsigned(10))
        ended = {"ended": Out(1)} if quiet else {}
        super().__init__({"i": In(stream.Signature(i)), "o": Out(stream.Signature(o)), **ended})

    def elaborate(self, platform):
        m = Module()
        row = data.ArrayLayout(signed(self.width), self.lanes)
        depth = self.words << ceil_log2(self.tokens)
        m.submodules.memory = memory = Memory(shape=row, depth=depth, init=[])
        read, write = memory.read_port(), memory.write_port()

        i = stream.Signature(self.i.p.shape()).create()
        pipe = Pipeline(m, i, self.o)
        frame = {n: i.p[n] for n in ("token", "index", "argument", "last", "norm")}
        m.d.comb += [read.addr.eq(self._address(i.p)), read.en.eq(pipe.advance)]
        normed = [i.p.normed] if self.quiet else []
        under_way = []  # words that are not yet written
        registers = pipe.stage(frame, read.addr, i.p.keep, normed, list(i.p.data))
        frame, address, keep, normed, values = registers
        under_way.append((pipe.valid, address))
        kept = [Mux(keep, old, 0) for old in read.data]
        frame, address, normed, kept, values = pipe.stage(frame, address, normed, kept, values)
        under_way.append((pipe.valid, address))
        sums = []
        for x, old in zip(values, kept, strict=True):
            total = Signal(signed(max(self.width, 24) + 1))
            m.d.comb += total.eq(x + old)
            sums.append(clamp(total, self.width))

        hazard = Signal()
        if self.words <= len(under_way):  # else a word's next visit is further away
            here = self._address(self.i.p)
            same = [valid & (address == here) for valid, address in under_way]
            m.d.comb += hazard.eq(Cat(*same).any())
        m.d.comb += [
            i.payload.eq(self.i.p),
            i.valid.eq(self.i.valid & ~hazard),
            self.i.ready.eq(i.ready & ~hazard),
            write.addr.eq(address),
            write.en.eq(pipe.advance & pipe.valid),
        ]
        m.d.comb += [write.data[n].eq(total) for n, total in enumerate(sums)]
        if self.quiet:
            ends = pipe.advance & pipe.valid & frame["last"] & ~normed[0]
            m.d.sync += self.ended.eq(ends)
            pipe.valid = pipe.valid & normed[0]
        frame, sums = pipe.stage(frame, sums)
        pipe.finish({**frame, "data": sums})
        return m

    def _address(self, word):
        token, index = ceil_log2(self.tokens), ceil_log2(self.words)
        return Cat(word.token[:token], word.index[:index])
