"""The memories that hold a layer's vectors: activations and queries."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.mac.mac_fabric import MANTISSA_WIDTH, activation_layout
from celosia.rtl.machine.fetched import mark_layout
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.words import INDEX_WIDTH, framed, token_width

__all__ = ["IN_LUTS", "ActivationMemory", "QueryMemory", "banks"]


IN_LUTS = {"ram_style": "distributed"}


def banks(m, shape, tokens, depth, address, en, attrs=None):
    """One memory for each token, read together: their write ports and what they read."""
    writes, reads = [], []
    for token in range(tokens):
        store = memory.Memory(shape=shape, depth=depth, init=[], attrs=attrs)
        m.submodules[f"token_{token}"] = store
        read = store.read_port()
        m.d.comb += [read.addr.eq(address), read.en.eq(en)]
        writes.append(store.write_port())
        reads.append(read.data)
    return writes, reads


class ActivationMemory(wiring.Component):
    """Blocks of activations in three regions, each with a mark up to which it is filled.

    A region's mark goes back to its start when ``refill`` names it, and follows the words of the
    group's last token.

    Latency 1 cycle from a word to the first ``read_en`` that finds it. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes, tokens : int, 1 to 64
    starts : tuple of 3 ints
        Where the regions begin, ascending from 0.
    depth : int, at most 2**20
        Words for each token, more than the last of ``starts``.
    width : int, 2 to 8
        Bits of a mantissa, the upper ones of what is read.
    in_luts : bool
        Where block RAM is short.

    Members
    -------
    i : In(stream of framed(lanes, width, tokens, exponent=unsigned(5))), always ready
        ``index`` is the address, ``exponent`` from 0 to 15.
    group : In(unsigned)
        The group's last token.
    refill, refill_en : In(Region), In(1)
    address, read_en, data : In, In, Out(activation_layout[tokens])
        Synchronous read: a cycle after ``read_en``, and kept while that is low.
    filled : Out(mark_layout, 3 times)
    written : Out(1)
        In the cycle after an operation's last word.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, tokens, starts, depth, width=8, in_luts=False):
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        if len(starts) != 3 or starts[0] != 0 or not starts[0] < starts[1] < starts[2]:
            raise ValueError(f"starts must be three ascending numbers from 0, not {starts!r}")
        check_range("depth", depth, starts[2] + 1, 1 << INDEX_WIDTH)
        self.lanes = lanes
        self.tokens = tokens
        self.starts = starts
        check_range("width", width, 2, 8)
        self.depth = depth
        self.width = width
        self.attrs = IN_LUTS if in_luts else None
        word = framed(lanes, width, tokens, exponent=unsigned(5))
        super().__init__(
            {
                "i": In(stream.Signature(word, always_ready=True)),
                "group": In(token_width(tokens)),
                "refill": In(2),
                "refill_en": In(1),
                "address": In(INDEX_WIDTH),
                "read_en": In(1),
                "data": Out(data.ArrayLayout(activation_layout(lanes), tokens)),
                "filled": Out(mark_layout()).array(3),
                "written": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i = self.i.p
        shape = activation_layout(self.lanes, self.width)
        read_port = self.address, self.read_en, self.attrs
        writes, reads = banks(m, shape, self.tokens, self.depth, *read_port)
        for token, (write, read) in enumerate(zip(writes, reads, strict=True)):
            m.d.comb += [
                write.addr.eq(i.index),
                write.data.mantissa.eq(i.data),
                write.data.exponent.eq(i.exponent),
                write.en.eq(self.i.valid & (i.token == token)),
            ]
            if self.width == MANTISSA_WIDTH:
                m.d.comb += self.data[token].eq(read)
                continue
            m.d.comb += self.data[token].exponent.eq(read.exponent)
            for wide, x in zip(self.data[token].mantissa, read.mantissa, strict=True):
                m.d.comb += wide.eq(x << (MANTISSA_WIDTH - self.width))
        m.d.sync += self.written.eq(self.i.valid & i.last)
        ends = [*self.starts[1:], self.depth]
        for region, (start, end) in enumerate(zip(self.starts, ends, strict=True)):
            inside = (i.index >= start) & (i.index < end)
            mark = self.filled[region]
            m.d.comb += [
                mark.fresh.eq(i.index),
                mark.moves.eq(self.i.valid & (i.token == self.group) & inside),
                mark.falls.eq(self.refill_en & (self.refill == region)),
            ]
            with m.If(mark.moves):
                m.d.sync += mark.end.eq(i.index + 1)
            with m.If(mark.falls):
                m.d.sync += mark.end.eq(start)
        return m


class QueryMemory(wiring.Component):
    """Queries of a group of tokens, and the step of each head.

    Latency 1 cycle from a word to the first ``read_en`` that finds it. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes, tokens : int, 1 to 64
    n_heads, head_words : int, 1 to 256

    Members
    -------
    i : In(stream of framed(lanes, 8, tokens) with ``step``, ``head`` and ``word``), always ready
        All heads one after the other, by one operation or several, each of which counts its own
        from ``head`` 0; ``index`` counts the words of all. A head's step is that of its word 0.
    address, read_en, data : In, In, Out(int8[tokens, lanes])
        The word of an index: a cycle after ``read_en``, and kept while that is low.
    head, steps : In(unsigned(8)), Out(unsigned(9)[tokens])
        Asynchronous read.
    written : Out(2)
        In the cycle after an operation's last word: bit 0 if that is the last of all, else bit 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, tokens, n_heads, head_words):
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("n_heads", n_heads, 1, 256)
        check_range("head_words", head_words, 1, 256)
        self.lanes = lanes
        self.tokens = tokens
        self.n_heads = n_heads
        self.head_words = head_words
        more = {"step": unsigned(9), "head": unsigned(8), "word": unsigned(8)}
        mantissas = data.ArrayLayout(signed(8), lanes)
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, 8, tokens, **more), always_ready=True)),
                "address": In(INDEX_WIDTH),
                "read_en": In(1),
                "data": Out(data.ArrayLayout(mantissas, tokens)),
                "head": In(8),
                "steps": Out(data.ArrayLayout(unsigned(9), tokens)),
                "written": Out(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i = self.i.p
        shape = data.ArrayLayout(signed(8), self.lanes)
        depth = self.n_heads * self.head_words
        writes, reads = banks(m, shape, self.tokens, depth, self.address, self.read_en)
        first, head = Signal(8), Signal(8)  # the operation's, and the word's
        final, ends = i.index == depth - 1, self.i.valid & i.last
        m.d.comb += head.eq(first + i.head)
        m.d.sync += self.written.eq(Cat(ends & final, ends & ~final))
        with m.If(ends):
            m.d.sync += first.eq(Mux(final, 0, head + 1))
        for token, (write, read) in enumerate(zip(writes, reads, strict=True)):
            steps = memory.Memory(shape=unsigned(9), depth=self.n_heads, init=[])
            m.submodules[f"steps_{token}"] = steps
            write_step = steps.write_port()
            read_step = steps.read_port(domain="comb")
            here = Signal(name=f"here_{token}")
            m.d.comb += [
                here.eq(self.i.valid & (i.token == token)),
                write.addr.eq(i.index),
                write.data.eq(i.data),
                write.en.eq(here),
                write_step.addr.eq(head),
                write_step.data.eq(i.step),
                write_step.en.eq(here & (i.word == 0)),
                read_step.addr.eq(self.head),
                self.data[token].eq(read),
                self.steps[token].eq(read_step.data),
            ]
        return m
