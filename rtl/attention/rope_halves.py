"""Rotary position embedding of heads whose pairs are the halves, as most checkpoints have them."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.attention.rope import Rope
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.words import ARGUMENT_WIDTH, INDEX_WIDTH, framed, token_width

__all__ = ["HeadPairs", "RopeHalves"]


class HeadPairs(wiring.Component):
    """The halves of each head as pairs: elements ``i`` and ``i + n / 2`` become 2i and 2i + 1.

    With ``back`` pairs become halves again. What belongs to a word but its data stays in place.

    Latency ``head_words + 2`` cycles from a head's first word to its first. Throughput 1 word per
    cycle.

    Parameters
    ----------
    lanes : int, 2, 4, 8, 16, 32 or 64
    head_words : int, 1 to 256
        Words of ``lanes`` values in one head: ``n = head_words * lanes``.
    width : int, 1 to 64
    back : bool

    Members
    -------
    i : In(stream of framed(lanes, width))
        The words of one head after those of another.
    o : Out(stream of framed(lanes, width))
    waiting : Out(1)
        Whether a whole head waits here.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, head_words, width, back=False):
        if lanes not in (2, 4, 8, 16, 32, 64):
            raise ValueError(f"lanes must be a power of two from 2 to 64, not {lanes!r}")
        check_range("head_words", head_words, 1, 256)
        check_range("width", width, 1, 64)
        self.lanes = lanes
        self.head_words = head_words
        self.width = width
        self.back = back
        self.latency = head_words + 2
        word = stream.Signature(framed(lanes, width))
        super().__init__({"i": In(word), "o": Out(word), "waiting": Out(1)})

    def elaborate(self, platform):
        m = Module()
        n, bits = self.head_words, ceil_log2(self.head_words)
        heads = Signal(range(3))  # whole ones, of which the first is being read
        place, page = Signal(bits + 1), Signal()
        index, other = Signal(bits + 1), Signal()
        found = stream.Signature(0).create()
        pipe = Pipeline(m, found, self.o)
        written, read = Signal(), Signal()
        m.d.comb += [
            self.waiting.eq(heads != 0),
            self.i.ready.eq(heads != 2),
            found.valid.eq(self.waiting),
            written.eq(self.i.valid & self.i.ready & (place == n - 1)),
            read.eq(found.valid & found.ready & (index == n - 1)),
        ]
        m.d.sync += heads.eq(heads + written - read)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [place.eq(Mux(written, 0, place + 1)), page.eq(page ^ written)]
        with m.If(found.valid & found.ready):
            m.d.sync += [index.eq(Mux(read, 0, index + 1)), other.eq(other ^ read)]

        def store(values, shape):
            """A memory of two heads' ``values``, and how to read from its place in this one."""
            memory = Memory(shape=shape, depth=max(2, 2 << bits), init=[])
            m.submodules += memory
            port = memory.write_port()
            m.d.comb += [port.addr.eq(Cat(place[:bits], page)), port.data.eq(values)]
            m.d.comb += port.en.eq(self.i.valid & self.i.ready)

            def at(address):
                port = memory.read_port()
                m.d.comb += [port.addr.eq(Cat(address[:bits], other)), port.en.eq(pipe.advance)]
                return port.data

            return at

        # Half words: as they stand in the word, or the pairs' first and second elements.
        x, half = list(self.i.p.data), self.lanes // 2
        parts = [x[0::2], x[1::2]] if self.back else [x[:half], x[half:]]
        shape = data.ArrayLayout(signed(self.width), half)
        halves = [store(Cat(*part), shape) for part in parts]
        rest = {"token": token_width(1), "index": INDEX_WIDTH, "argument": ARGUMENT_WIDTH}
        rest = data.StructLayout(
            {name: unsigned(size) for name, size in rest.items()} | {"last": 1}
        )
        frame = store(Cat(*(self.i.p[name] for name, _ in rest)), rest)(index)

        left, right = (index << 1, (index << 1) | 1) if self.back else (index, index + n)
        sides, selects = [], []
        for number in (left, right):
            second = number >= n if self.back else number[0]
            address = Mux(second, number - n, number) if self.back else number[1:]
            address_signal, select = Signal(bits + 1), Signal()
            m.d.comb += [address_signal.eq(address), select.eq(second)]
            sides.append([at(address_signal) for at in halves])
            selects.append(select)
        (selects,) = pipe.stage(selects)
        chosen = [
            Mux(select, b.as_value(), a.as_value())
            for (a, b), select in zip(sides, selects, strict=True)
        ]
        frame = {name: frame[name] for name, _ in rest}
        chosen, frame = pipe.stage(chosen, frame)
        a, b = ([c.word_select(k, self.width) for k in range(half)] for c in chosen)
        y = [*a, *b] if self.back else [v for pair in zip(a, b, strict=True) for v in pair]
        pipe.finish({**frame, "data": y})
        return m


class RopeHalves(wiring.Component):
    """Rotates the pairs ``(i, i + n / 2)`` of every head by the angles of the word's position.

    A :class:`celosia.rtl.attention.rope.Rope` between two :class:`HeadPairs`. Bit-exact with
    :func:`celosia.reference.units.rope.rope` of ``halves``; numbers, parameters and the table,
    which all heads share, as there.

    Words wait while a position is offered. It is taken when no whole head waits for the one before,
    so that a head is rotated by the last position offered before its last word, or by the first.

    Latency ``2 * head_words + 8`` cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 2, 4, 8, 16, 32 or 64
    head_words : int, 1 to 256
    increments : sequence of int, each from 0 to 2**32 - 1
        Of :func:`celosia.reference.units.rope.rope_increments`.

    Members
    -------
    i : In(stream of framed(lanes, 24))
        Heads one after the other from index 0.
    position : In(stream of unsigned(20))
    o : Out(stream of framed(lanes, 16))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, head_words, increments):
        self._rope = Rope(lanes, head_words, [increments])
        self._pairs = HeadPairs(lanes, head_words, 24)
        self._halves = HeadPairs(lanes, head_words, 16, back=True)
        self.lanes = lanes
        self.head_words = head_words
        self.increments = self._rope.increments[0]
        self.latency = 2 * self._pairs.latency + 4
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, 24))),
                "position": In(stream.Signature(self._rope.positions.p.position.shape())),
                "o": Out(stream.Signature(framed(lanes, 16))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.pairs = pairs = self._pairs
        m.submodules.rope = rope = self._rope
        m.submodules.halves = halves = self._halves
        started, still = Signal(), Signal()  # whether no whole head waits for another position
        with m.If(self.position.valid & self.position.ready):
            m.d.sync += started.eq(1)
        m.d.comb += [
            still.eq(~started | (~pairs.waiting & ~pairs.o.valid)),
            pairs.i.payload.eq(self.i.payload),
            pairs.i.valid.eq(self.i.valid & ~self.position.valid),
            self.i.ready.eq(pairs.i.ready & ~self.position.valid),
            rope.positions.p.position.eq(self.position.payload),
            rope.positions.p.tokens.eq(1),
            rope.positions.valid.eq(self.position.valid & still),
            self.position.ready.eq(rope.positions.ready & still),
        ]
        wiring.connect(m, pairs.o, rope.i)
        wiring.connect(m, rope.o, halves.i)
        wiring.connect(m, halves.o, wiring.flipped(self.o))
        return m
