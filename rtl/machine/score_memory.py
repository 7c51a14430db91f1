"""The memory that holds the exponentials of scores, and the largest exponent of each vector."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.rtl.machine.fetched import EXPONENT_WIDTH, score_layout
from celosia.rtl.machine.step import BUFFERS
from celosia.rtl.machine.vector_memory import IN_LUTS, banks
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.words import INDEX_WIDTH, framed

__all__ = ["ScoreMemory"]


class ScoreMemory(wiring.Component):
    """Blocks of exponentials in several buffers, and the largest exponent of each token in each.

    With ``parts`` as many words are read at once: those of ``index // parts``. They lie in memories
    of their own, in LUTs: these are narrow and many.

    Latency 1 cycle from a word to its maximum (with ``paths`` 2) and to the first ``read_en`` that
    finds it. Throughput 1 word per cycle and path.

    Parameters
    ----------
    lanes, tokens : int, 1 to 64
    words : int, 1 to 2**18
        Blocks in a buffer, or ``parts`` of them.
    exponent_width : int, 10 to 26
    total_width : int, 0 to 32
        Bits of the ``total`` of a word, where it has one.
    parts : int, a power of two to 64
    paths : int, a power of two to ``parts``
        Streams of words: word ``index`` comes by path ``index % paths``.

    Members
    -------
    i : In(stream of framed(lanes, unsigned(7), tokens, exponent=signed)), always ready
        ``argument`` is the buffer; the word of index 0 starts its maximum anew.
    beside : In(stream of the same, paths - 1 times), always ready
        The other paths, where there are any: their words come no later than those of ``i``.
    address, read_en, data : In, In, Out(score_layout[tokens * parts])
        Word ``buffer * words + index``: a cycle after ``read_en``, and kept while that is low.
    buffer, largest : In(2), Out(signed(exponent_width)[tokens])
        Asynchronous read.
    written : Out(BUFFERS)
        For each buffer, in the cycle after an operation's last word.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(
        self,
        lanes,
        tokens,
        words,
        exponent_width=EXPONENT_WIDTH,
        total_width=0,
        parts=1,
        paths=1,
    ):
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("words", words, 1, (1 << INDEX_WIDTH) // BUFFERS)
        check_range("exponent_width", exponent_width, EXPONENT_WIDTH, 26)
        check_range("total_width", total_width, 0, 32)
        self.lanes = lanes
        self.tokens = tokens
        self.words = words
        check_power_of_two("parts", parts, 64)
        check_power_of_two("paths", paths, parts)
        self.parts = parts
        self.paths = paths
        self.exponent = signed(exponent_width)
        more = {"total": unsigned(total_width)} if total_width else {}
        word = framed(lanes, unsigned(7), tokens, exponent=self.exponent, **more)
        self.score = score_layout(lanes, exponent_width, total_width)
        beside = In(stream.Signature(word, always_ready=True))
        super().__init__(
            {
                "i": In(stream.Signature(word, always_ready=True)),
                **({"beside": beside.array(paths - 1)} if paths > 1 else {}),
                "address": In(INDEX_WIDTH),
                "read_en": In(1),
                "data": Out(data.ArrayLayout(self.score, tokens * parts)),
                "buffer": In(2),
                "largest": Out(data.ArrayLayout(self.exponent, tokens)),
                "written": Out(BUFFERS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        depth = BUFFERS * self.words
        attrs = IN_LUTS if self.parts > 1 else None
        shared = self.address, self.read_en, attrs
        writes, reads = banks(m, self.score, self.tokens * self.parts, depth, *shared)
        streams = [self.i, *(self.beside if self.paths > 1 else ())]
        buffers = [one.p.argument[:2] for one in streams]
        for token in range(self.tokens):
            heres = []
            for path, one in enumerate(streams):
                name = f"here_{token}" if path == 0 else f"here_{token}_{path}"
                heres.append(here := Signal(name=name))
                m.d.comb += here.eq(one.valid & (one.p.token == token))
            for part in range(self.parts):
                number, path = token * self.parts + part, part % self.paths
                ports = writes[number], reads[number]
                self._store(m, *ports, streams[path].p, heres[path], part)
                m.d.comb += self.data[number].eq(reads[number])
            for number in range(BUFFERS):
                largest = [
                    self._largest(m, path, token, number, one.p, here & (buffer == number))
                    for path, (one, here, buffer) in enumerate(
                        zip(streams, heres, buffers, strict=True)
                    )
                ]
                joined = _joined(m, largest)
                with m.If(self.buffer == number):
                    m.d.comb += self.largest[token].eq(joined)
        for number in range(BUFFERS):
            ended = self.i.valid & self.i.p.last & (buffers[0] == number)
            m.d.sync += self.written[number].eq(ended)
        return m

    def _store(self, m, write, read, i, here, part):
        """A word of that part into its memory."""
        bits = exact_log2(self.parts)
        index = i.index[bits:] if bits else i.index
        m.d.comb += [
            write.addr.eq(i.argument[:2] * self.words + index),
            write.data.power.eq(i.data),
            write.data.exponent.eq(i.exponent),
            *([write.data.total.eq(i.total)] if "total" in self.score.members else []),
            write.en.eq(here & (i.index[:bits] == part) if bits else here),
        ]

    def _largest(self, m, path, token, number, i, here):
        """Of a path's words for a token in a buffer."""
        name = f"largest_{token}_{number}" if path == 0 else f"largest_{token}_{number}_{path}"
        largest = Signal(self.exponent, name=name)
        with m.If(here):
            above = (i.index == path) | (i.exponent > largest)
            m.d.sync += largest.eq(Mux(above, i.exponent, largest))
        return largest


def _joined(m, values):
    """The largest of signed values, of several a cycle later."""
    if len(values) == 1:
        return values[0]
    while len(values) > 1:
        pairs = zip(values[0::2], values[1::2], strict=True)
        values = [Mux(a > b, a, b) for a, b in pairs]
    joined = Signal.like(values[0], name="joined")
    m.d.sync += joined.eq(values[0])
    return joined
