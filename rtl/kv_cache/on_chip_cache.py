"""The linear KV cache: keys and values on chip, laid out as the fabric's operands."""

from amaranth import Cat, Const, Module, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.division import divided
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import clamp
from celosia.rtl.stream.words import framed, token_width

__all__ = ["KeyCache", "KeySteps", "ValueCache", "ValueWords", "cached_layout", "joined"]

POSITION_WIDTH = 20


def cached_layout(lanes):
    """A block of one position's key or value: place and data.

    ``head`` counts the heads of ``layer``, ``word`` the blocks of a head; ``step`` is the key's
    multiplier (keys only); ``last`` ends an operation.
    """
    return data.StructLayout(
        {
            "data": data.ArrayLayout(signed(8), lanes),
            "layer": unsigned(8),
            "head": unsigned(8),
            "word": unsigned(8),
            "position": unsigned(POSITION_WIDTH),
            "step": unsigned(9),
            "last": 1,
        }
    )


class _Cache(wiring.Component):
    """What both caches share: sizes, the write stream, the read port and the head's number."""

    def __init__(self, rows, lanes, n_layers, n_kv_heads, head_words, max_seq_len, more=None):
        check_power_of_two("lanes", lanes, 64)
        if rows not in range(lanes, 1025, lanes):
            raise ValueError(f"rows must be a multiple of lanes ({lanes}) to 1024, not {rows!r}")
        check_range("n_layers", n_layers, 1, 256)
        check_range("n_kv_heads", n_kv_heads, 1, 256)
        check_range("head_words", head_words, 1, 256)
        check_range("max_seq_len", max_seq_len, 1, 1 << POSITION_WIDTH)
        self.rows = rows
        self.lanes = lanes
        self.n_layers = n_layers
        self.n_kv_heads = n_kv_heads
        self.head_words = head_words
        self.max_seq_len = max_seq_len
        super().__init__(
            {
                "i": In(stream.Signature(cached_layout(lanes), always_ready=True)),
                "address": In(28),
                "read_en": In(1),
                "data": Out(data.ArrayLayout(data.ArrayLayout(signed(8), lanes), rows)),
                "written": Out(1),
                **(more or {}),
            }
        )

    @property
    def position_tiles(self):
        """Tiles of ``rows`` positions in the cache."""
        return -(-self.max_seq_len // self.rows)

    @property
    def position_words(self):
        """Blocks of ``lanes`` positions in the cache."""
        return -(-self.max_seq_len // self.lanes)

    @property
    def channel_tiles(self):
        """Tiles of ``rows`` channels in a head."""
        return -(-self.head_words * self.lanes // self.rows)

    def _memory(self, m, depth, rows):
        """The memory of the first ``rows`` rows; the others stay zero."""
        m.submodules.memory = store = memory.Memory(
            shape=data.ArrayLayout(signed(8), rows * self.lanes), depth=depth, init=[]
        )
        read = store.read_port()
        m.d.comb += [
            read.addr.eq(self.address),
            read.en.eq(self.read_en),
            self.data.as_value().eq(Cat(read.data, Const(0, 1))),
        ]
        return store.write_port(granularity=1)

    def _heads_first(self, m):
        """The word and its head's number among all layers' heads, one cycle later."""
        word = Signal(cached_layout(self.lanes))
        valid = Signal()
        head = Signal(range(self.n_layers * self.n_kv_heads + 1))
        m.d.sync += [
            word.eq(self.i.p),
            valid.eq(self.i.valid),
            head.eq(self.i.p.layer * self.n_kv_heads + self.i.p.head),
        ]
        return word, valid, head


class KeySteps(wiring.Component):
    """The keys' steps, in blocks of ``lanes`` positions: ``head_number * position_words + block``.

    ``head_number = layer * n_kv_heads + head``; a step is that of the head's word 0.

    Latency 3 cycles from a word to the first ``step_en`` that finds it. Throughput 1 word a cycle.

    Parameters
    ----------
    lanes : int, a power of two to 64
    n_layers, n_kv_heads : int, 1 to 256
    max_seq_len : int, 1 to 2**20

    Members
    -------
    i : In(stream of cached_layout), always ready
    step_address, step_en, steps : In, In, Out(unsigned(9)[lanes])
        Synchronous read: a cycle after ``step_en``, and kept while that is low.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, n_layers, n_kv_heads, max_seq_len):
        check_power_of_two("lanes", lanes, 64)
        check_range("n_layers", n_layers, 1, 256)
        check_range("n_kv_heads", n_kv_heads, 1, 256)
        check_range("max_seq_len", max_seq_len, 1, 1 << POSITION_WIDTH)
        self.lanes = lanes
        self.n_kv_heads = n_kv_heads
        self.position_words = -(-max_seq_len // lanes)
        self.depth = n_layers * n_kv_heads * self.position_words
        super().__init__(
            {
                "i": In(stream.Signature(cached_layout(lanes), always_ready=True)),
                "step_address": In(28),
                "step_en": In(1),
                "steps": Out(data.ArrayLayout(unsigned(9), lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.steps = steps = memory.Memory(
            shape=data.ArrayLayout(unsigned(9), self.lanes), depth=self.depth, init=[]
        )
        read, write = steps.read_port(), steps.write_port(granularity=1)
        lane_bits = self.lanes.bit_length() - 1
        head, place, word = Signal(16), Signal(range(self.depth)), self.i.p
        valid, later_valid = Signal(), Signal()
        position, lane = Signal(POSITION_WIDTH), Signal(range(self.lanes))
        step, later_step = Signal(9), Signal(9)
        m.d.sync += [
            valid.eq(self.i.valid & (word.word == 0)),
            head.eq(word.layer * self.n_kv_heads + word.head),
            position.eq(word.position),
            step.eq(word.step),
            later_valid.eq(valid),
            place.eq(head * self.position_words + (position >> lane_bits)),
            lane.eq(position & (self.lanes - 1)),
            later_step.eq(step),
        ]
        m.d.comb += [
            read.addr.eq(self.step_address),
            read.en.eq(self.step_en),
            self.steps.eq(read.data),
            write.addr.eq(place),
        ]
        for n in range(self.lanes):
            m.d.comb += write.data[n].eq(later_step)
            m.d.comb += write.en[n].eq(later_valid & (lane == n))
        return m


def joined(number, size, place):
    """``number * size + place``, for ``place`` below ``size``; without an adder if that may be."""
    if size & (size - 1):
        return number * size + place
    return Cat(place[: size.bit_length() - 1], number)


class KeyCache(_Cache):
    """Keys: tile ``t // rows`` of a head holds position ``t`` in row ``t % rows``.

    Word ``((layer * n_kv_heads + head) * position_tiles + t // rows) * head_words + word``.
    The steps of a head's positions are read as blocks of ``lanes`` by their own port, at
    ``(layer * n_kv_heads + head) * position_words + t // lanes``.

    Latency 3 cycles from a word's acceptance to the first ``read_en`` that finds it. Throughput
    1 word per cycle.

    Parameters
    ----------
    rows : int, a multiple of ``lanes`` to 1024
    lanes : int, a power of two to 64
    n_layers, n_kv_heads, head_words : int, 1 to 256
        Heads are ``head_words * lanes`` long.
    max_seq_len : int, 1 to 2**20

    Members
    -------
    i : In(stream of cached_layout), always ready
    address, read_en, data : In, In, Out(int8[rows, lanes])
        Synchronous read: a cycle after ``read_en``, and kept while that is low.
    written : Out(1)
        3 cycles after an operation's last word: with the first cycle in which it can be read.
    step_address, step_en, steps : In, In, Out(unsigned(9)[lanes])
        Read like ``data``; a step is that of the head's word 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, rows, lanes, n_layers, n_kv_heads, head_words, max_seq_len):
        more = {
            "step_address": In(28),
            "step_en": In(1),
            "steps": Out(data.ArrayLayout(unsigned(9), lanes)),
        }
        super().__init__(rows, lanes, n_layers, n_kv_heads, head_words, max_seq_len, more)

    def elaborate(self, platform):
        m = Module()
        heads = self.n_layers * self.n_kv_heads
        write = self._memory(m, heads * self.position_tiles * self.head_words, self.rows)
        m.submodules.steps = steps = KeySteps(
            self.lanes, self.n_layers, self.n_kv_heads, self.max_seq_len
        )
        word, valid, head = self._heads_first(m)
        later, later_valid = Signal.like(word), Signal()
        tile = Signal(range(heads * self.position_tiles + 1))
        row = Signal(range(self.rows))
        lane_bits = self.lanes.bit_length() - 1
        early, block = self.i.p.position >> lane_bits, word.position >> lane_bits
        chunks, count = self.rows // self.lanes, self.position_words
        position_tile, chunk = divided(m, "tiles", early, block, chunks, count)
        m.d.sync += [
            later.eq(word),
            later_valid.eq(valid),
            tile.eq(head * self.position_tiles + position_tile),
            row.eq(Cat(word.position[:lane_bits], chunk)),
            self.written.eq(later_valid & later.last),
        ]
        m.d.comb += [
            write.addr.eq(joined(tile, self.head_words, later.word)),
            steps.i.valid.eq(self.i.valid),
            steps.i.payload.eq(self.i.p),
            steps.step_address.eq(self.step_address),
            steps.step_en.eq(self.step_en),
            self.steps.eq(steps.steps),
        ]
        for r in range(self.rows):
            for n in range(self.lanes):
                place = r * self.lanes + n
                m.d.comb += write.data[place].eq(later.data[n])
                m.d.comb += write.en[place].eq(later_valid & (row == r))
        return m


class ValueCache(_Cache):
    """Values, transposed: channel ``d`` is row ``d % rows``, position ``t`` lane ``t % lanes``.

    Word ``(head_number * channel_tiles + d // rows) * position_words + t // lanes``, where
    ``head_number = layer * n_kv_heads + head``.

    Latency 3 cycles from a word's acceptance to the first ``read_en`` that finds it. Throughput
    1 word per cycle.

    Parameters
    ----------
    rows : int, a multiple of ``lanes`` to 1024
    lanes : int, a power of two to 64
    n_layers, n_kv_heads, head_words : int, 1 to 256
        Heads are ``head_words * lanes`` long.
    max_seq_len : int, 1 to 2**20

    Members
    -------
    i : In(stream of cached_layout), always ready
    address, read_en, data : In, In, Out(int8[rows, lanes])
        Synchronous read: a cycle after ``read_en``, and kept while that is low.
    written : Out(1)
        3 cycles after an operation's last word: with the first cycle in which it can be read.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def elaborate(self, platform):
        m = Module()
        heads = self.n_layers * self.n_kv_heads
        rows = min(self.rows, self.head_words * self.lanes)  # no head fills more
        write = self._memory(m, heads * self.channel_tiles * self.position_words, rows)
        chunks = self.rows // self.lanes
        lane_bits = self.lanes.bit_length() - 1

        word, valid, head = self._heads_first(m)
        later, later_valid = Signal.like(word), Signal()
        numbers = self.i.p.word, word.word, chunks, self.head_words
        channel_tile, word_chunk = divided(m, "tiles", *numbers)
        chunk = Signal(range(max(2, chunks)))
        tile = Signal(range(heads * self.channel_tiles + 1))
        m.d.sync += [
            later.eq(word),
            later_valid.eq(valid),
            tile.eq(head * self.channel_tiles + channel_tile),
            chunk.eq(word_chunk),
            self.written.eq(later_valid & later.last),
        ]
        block = later.position >> lane_bits
        m.d.comb += write.addr.eq(joined(tile, self.position_words, block))
        lane = later.position & (self.lanes - 1)
        for r in range(rows):
            for n in range(self.lanes):
                place = r * self.lanes + n
                here = (chunk == r // self.lanes) & (lane == n)
                m.d.comb += write.data[place].eq(later.data[r % self.lanes])
                m.d.comb += write.en[place].eq(later_valid & here)
        return m


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
    position, group : In
        The first token's position, and the last token. Constant while words come.
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
                "position": In(POSITION_WIDTH),
                "group": In(token_width(tokens)),
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
            o.position.eq(self.position + i.token),
            o.last.eq(i.last),
        ]
        m.d.sync += [o.data[n].eq(clamp(i.data[n], 8)) for n in range(self.lanes)]
        return m
