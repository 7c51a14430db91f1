"""The KV cache on chip: keys and values, laid out as the fabric's operands."""

from amaranth import Cat, Const, Module, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.division import divided
from celosia.rtl.kv_cache.key_steps import KeySteps
from celosia.rtl.kv_cache.places import cached_layout, start_of

__all__ = ["KeyCache", "ValueCache"]


class _Cache(wiring.Component):
    """What both caches share: the write stream, the read port and the head's number."""

    def __init__(self, places, more=None):
        self.places = places
        self.rows, self.lanes = rows, lanes = places.rows, places.lanes
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

    def _memory(self, m, depth, rows, width, parts=1):
        """The memory of the first ``rows`` rows, codes of ``width`` bits; the others stay zero.

        With ``parts`` it has them as often; of the operand every ``parts``-th block of rows is one.
        """
        codes = rows * self.lanes * parts
        m.submodules.memory = store = memory.Memory(
            shape=data.ArrayLayout(signed(width), codes), depth=depth, init=[]
        )
        read = store.read_port()
        places = []
        for chunk in range(rows * parts // self.lanes):
            word, part = divmod(chunk, parts)
            for row in range(word * self.lanes, (word + 1) * self.lanes):
                slots = range(part * self.lanes, (part + 1) * self.lanes)
                places += [self._place(row, slot, width) for slot in slots]
        plain = width == 8 and places == list(range(codes))
        codes = [read.data[place] for place in places]
        codes = [Cat(code, code[-1].replicate(8 - width)) for code in codes]
        m.d.comb += [
            read.addr.eq(self.address),
            read.en.eq(self.read_en),
            self.data.as_value().eq(Cat(read.data if plain else codes, Const(0, 1))),
        ]
        return store.write_port(granularity=1)

    def _place(self, row, slot, width):
        """Where a code lies in its word."""
        return row * self.lanes + slot

    def _heads_first(self, m):
        """The word and its head's number among all layers' heads, one cycle later."""
        word = Signal(cached_layout(self.lanes))
        valid = Signal()
        head = Signal(range(len(self.places.key_tiles)))
        m.d.sync += [
            word.eq(self.i.p),
            valid.eq(self.i.valid),
            head.eq(self.i.p.layer * self.places.n_kv_heads + self.i.p.head),
        ]
        return word, valid, head


class KeyCache(_Cache):
    """Keys, a slot in a row, where :class:`CachePlaces` says.

    Their steps are read as words of ``lanes * paths`` slots by their own port.

    Latency 3 cycles from a word's acceptance to the first ``read_en`` that finds it. Throughput
    1 word per cycle.

    Parameters
    ----------
    places : CachePlaces

    Members
    -------
    i : In(stream of cached_layout), always ready
    address, read_en, data : In, In, Out(int8[rows, lanes])
        Synchronous read: a cycle after ``read_en``, and kept while that is low.
    written : Out(1)
        3 cycles after an operation's last word: with the first cycle in which it can be read.
    step_address, step_en, steps : In, In, Out(unsigned(9)[lanes * paths])
        Read like ``data``; a step is that of the head's word 0.
    """

    def __init__(self, places):
        more = {
            "step_address": In(28),
            "step_en": In(1),
            "steps": Out(data.ArrayLayout(unsigned(9), places.lanes * places.paths)),
        }
        super().__init__(places, more)

    def elaborate(self, platform):
        m = Module()
        starts, head_words = self.places.key_tiles, self.places.head_words
        write = self._memory(m, self.places.key_words, self.rows, self.places.key_width)
        m.submodules.steps = steps = KeySteps(self.places)
        word, valid, head = self._heads_first(m)
        later, later_valid = Signal.like(word), Signal()
        tile = Signal(range(starts[-1] + 1))
        row = Signal(range(self.rows))
        lane_bits = self.lanes.bit_length() - 1
        early, block = self.i.p.slot >> lane_bits, word.slot >> lane_bits
        numbers = early, block, self.rows // self.lanes, self.places.most_blocks
        slot_tile, chunk = divided(m, "tiles", *numbers)
        m.d.sync += [
            later.eq(word),
            later_valid.eq(valid),
            tile.eq(start_of(head, starts, slot_tile)),
            row.eq(Cat(word.slot[:lane_bits], chunk)),
            self.written.eq(later_valid & later.last),
        ]
        m.d.comb += [
            write.addr.eq(start_of(tile, (0, head_words), later.word)),
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
    """Values, transposed: a channel in a row, a slot in a lane, where :class:`CachePlaces` says.

    With ``parts`` an operand holds as many blocks of slots: chunk ``word * parts + part`` of rows
    is the block ``word`` of channels of the slots of that part.

    Latency 3 cycles from a word's acceptance to the first ``read_en`` that finds it. Throughput
    1 word per cycle.

    Parameters
    ----------
    places : CachePlaces

    Members
    -------
    i : In(stream of cached_layout), always ready
    address, read_en, data : In, In, Out(int8[rows, lanes])
        Synchronous read: a cycle after ``read_en``, and kept while that is low.
    written : Out(1)
        3 cycles after an operation's last word: with the first cycle in which it can be read.
    """

    def _place(self, row, slot, width):
        """Of codes of 4 bits, two rows' lie side by side: they are written as one byte."""
        slots = self.lanes * self.places.parts
        pair = row // 2 * 2 * slots + 2 * slot + row % 2
        return pair if width == 4 else row * slots + slot

    def elaborate(self, platform):
        m = Module()
        places = self.places
        rows = min(self.rows, places.head_words * self.lanes)  # no head fills more
        write = self._memory(m, places.value_words, rows, places.value_width, places.parts)
        chunks = self.rows // self.lanes
        slots = self.lanes * places.parts  # in a word
        lane_bits = slots.bit_length() - 1

        word, valid, head = self._heads_first(m)
        later, later_valid = Signal.like(word), Signal()
        numbers = self.i.p.word, word.word, chunks, places.head_words
        channel_tile, word_chunk = divided(m, "tiles", *numbers)
        chunk = Signal(range(max(2, chunks)))
        tile = Signal(range(len(places.value_blocks)))
        m.d.sync += [
            later.eq(word),
            later_valid.eq(valid),
            tile.eq(head * places.channel_tiles + channel_tile),
            chunk.eq(word_chunk),
            self.written.eq(later_valid & later.last),
        ]
        block = later.slot >> lane_bits
        m.d.comb += write.addr.eq(start_of(tile, places.value_blocks, block))
        lane = later.slot & (slots - 1)
        for r in range(rows):
            for n in range(slots):
                place = self._place(r, n, places.value_width)
                here = (chunk == r // self.lanes) & (lane == n)
                m.d.comb += write.data[place].eq(later.data[r % self.lanes])
                m.d.comb += write.en[place].eq(later_valid & here)
        return m
