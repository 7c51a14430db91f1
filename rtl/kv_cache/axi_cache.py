"""The KV cache in external memory: keys and values written in place, read ahead step by step."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.division import divided
from celosia.rtl.kv_cache.axi_write import AxiBlockWriter
from celosia.rtl.kv_cache.key_steps import KeySteps
from celosia.rtl.kv_cache.places import cached_layout, start_of
from celosia.rtl.machine.step import Operand, recall_layout
from celosia.rtl.memory.axi_port import axi_read_port, axi_write_port, join_pins
from celosia.rtl.memory.axi_tape import AxiReader
from celosia.rtl.stream.checks import check_power_of_two, check_range

__all__ = ["PREFIX", "AxiCache", "cache_pins"]

PREFIX = "m_axi_kv_"


def cache_pins(data_width):
    """The members of the cache's AXI4 port: ``m_axi_kv_araddr`` and so on."""
    port = {**axi_read_port(data_width), **axi_write_port(data_width)}
    return {PREFIX + name: member for name, member in port.items()}


class AxiCache(wiring.Component):
    """Keys and values in AXI4 memory, laid out as the fabric's operands; keys' steps on chip.

    ``o`` delivers, for each step of keys or values, its ``tiles`` runs of ``words`` operand words,
    ``stride`` apart, reading ahead as far as steps are known and the reader's buffer allows.
    Blocks of keys and values wait in queues that hold one operation's, and are written one burst
    after the other, with strobes. ``written`` comes with the answer to an operation's last burst:
    a step that reads what it wrote must not come earlier.

    Throughput a word of ``rows * lanes`` bytes in as many cycles as it has transfers; a block in as
    many cycles as its burst has transfers, and 5.

    Parameters
    ----------
    places : CachePlaces
        ``lanes`` to 32. The byte of row ``r`` and lane ``n`` is ``word * word_bytes + r * lanes +
        n``; the values' words follow those of the keys. Where keys and values have 4 bits, the byte
        ``word * word_bytes + (r * lanes + n) / 2`` has two lanes of a key's row, and the byte
        ``word * word_bytes + r / 2 * lanes + n`` two rows of values, the lower one in the lower
        half.
    tokens : int, 1 to 64
        Tokens of a group.
    data_width : int, a power of two from 32 to 1024
    buffer : int, at least 16
        Of the :class:`celosia.rtl.memory.axi_tape.AxiReader`.

    Members
    -------
    keys, values : In(stream of cached_layout), always ready
        An operation's blocks come after the one before it was written.
    written_keys, written_values : Out(1)
    recall : In(stream of recall_layout)
    o : Out(stream of int8[rows, lanes])
        Of 4 bits in the order of keys: see :meth:`CachePlaces.value_place` for values. Places
        never written hold what the memory holds.
    step_address, step_en, steps : In, In, Out(unsigned(9)[lanes])
        See :class:`celosia.rtl.kv_cache.key_steps.KeySteps`.
    error : Out(1)
        High for a cycle when the memory answered with SLVERR or DECERR.
    m_axi_kv_araddr ...
        The port, see :mod:`celosia.rtl.memory.axi_port`. The reads' ID and the writes' is 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, places, tokens, data_width, buffer=512):
        rows, lanes = places.rows, places.lanes
        check_power_of_two("lanes", lanes, 32)
        check_range("tokens", tokens, 1, 64)
        self.key_steps = KeySteps(places)
        width = places.external_width
        self.reader = AxiReader(width * rows * lanes, data_width, buffer)
        self.writer = AxiBlockWriter(lanes, data_width, packed=width == 4)
        self.places = places
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.data_width = data_width
        blocks = stream.Signature(cached_layout(lanes), always_ready=True)
        weights = data.ArrayLayout(data.ArrayLayout(signed(8), lanes), rows)
        steps = self.key_steps.signature.members
        super().__init__(
            {
                "keys": In(blocks),
                "values": In(blocks),
                "written_keys": Out(1),
                "written_values": Out(1),
                "recall": In(stream.Signature(recall_layout())),
                "o": Out(stream.Signature(weights)),
                **{name: steps[name] for name in ("step_address", "step_en", "steps")},
                "error": Out(1),
                **cache_pins(data_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.key_steps = steps = self.key_steps
        m.submodules.reader = reader = self.reader
        m.submodules.writer = writer = self.writer
        m.d.comb += [
            steps.i.valid.eq(self.keys.valid),
            steps.i.payload.eq(self.keys.p),
            steps.step_address.eq(self.step_address),
            steps.step_en.eq(self.step_en),
            self.steps.eq(steps.steps),
            self.error.eq(reader.error | writer.error),
            self.written_keys.eq(writer.written.valid & (writer.written.payload == 0b10)),
            self.written_values.eq(writer.written.valid & (writer.written.payload == 0b11)),
            self.o.valid.eq(reader.o.valid),
            self.o.payload.eq(self._codes(reader.o.payload)),
            reader.o.ready.eq(self.o.ready),
        ]
        join_pins(m, self, PREFIX, reader, axi_read_port(self.data_width))
        join_pins(m, self, PREFIX, writer, axi_write_port(self.data_width))
        self._read(m, reader)
        self._write(m, writer)
        return m

    def _codes(self, word):
        """A word's codes in 8 bits each."""
        width = self.places.external_width
        if width == 8:
            return word
        codes = (word.word_select(n, width) for n in range(self.rows * self.lanes))
        return Cat(Cat(code, code[-1].replicate(8 - width)) for code in codes)

    def _read(self, m, reader):
        """The runs of each step: all of a head's keys are one, its values one for each tile."""
        step = Signal(recall_layout())
        left, active = Signal.like(step.tiles), Signal()
        keys = self.recall.p.operand == Operand.KEYS
        first = Mux(keys, 0, self.places.key_words)
        m.d.comb += [
            self.recall.ready.eq(~active),
            reader.run.valid.eq(active),
            reader.run.p.address.eq(step.address),
            reader.run.p.count.eq(step.words),
        ]
        with m.If(self.recall.valid & ~active):
            m.d.sync += [
                active.eq(1),
                step.eq(self.recall.p),
                step.address.eq(self.recall.p.address + first),
                left.eq(Mux(keys, 1, self.recall.p.tiles)),
            ]
            with m.If(keys):  # a head's tiles follow each other
                m.d.sync += step.words.eq(self.recall.p.tiles * self.places.head_words)
        with m.If(active & reader.run.ready):
            m.d.sync += [step.address.eq(step.address + step.stride), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += active.eq(0)

    def _queue(self, m, name):
        """A queue for an operation's blocks."""
        port, places = getattr(self, name), self.places
        m.submodules[f"{name}_queue"] = queue = fifo.SyncFIFOBuffered(
            width=port.p.shape().size, depth=places.n_kv_heads * places.head_words * self.tokens + 1
        )
        m.d.comb += [queue.w_en.eq(port.valid), queue.w_data.eq(port.p)]
        return queue

    def _write(self, m, writer):
        """Block by block: its head's number, its tile, its word, its byte."""
        keys, values = self._queue(m, "keys"), self._queue(m, "values")
        places = self.places
        word = Signal(cached_layout(self.lanes))
        column = Signal()
        head, tile, index = Signal(16), Signal(28), Signal(28)
        lane_bits, chunks = self.lanes.bit_length() - 1, self.rows // self.lanes
        lane, slot_block = word.slot[:lane_bits], word.slot >> lane_bits
        # A block stays for cycles, so that tables have read it when its tile is asked for.
        numbers = slot_block, slot_block, chunks, places.most_blocks
        slot_tile, slot_chunk = divided(m, "slot_tiles", *numbers)
        numbers = word.word, word.word, chunks, places.head_words
        channel_tile, channel_chunk = divided(m, "channel_tiles", *numbers)
        word_bytes = places.word_bytes(self.data_width)
        half = 8 // places.external_width - 1  # two codes share a byte
        within = Signal(range(word_bytes))  # the block's byte in its word
        block = writer.i.p
        m.d.comb += [
            within.eq(
                Mux(
                    column,
                    channel_chunk << 2 * lane_bits - half,
                    Cat(lane, slot_chunk) << lane_bits - half,
                )
            ),
            block.data.eq(word.data),
            block.column.eq(column),
            block.lane.eq(lane),
            block.tag.eq(Cat(column, word.last)),
            block.address.eq(start_of(index, (0, word_bytes), within)),
        ]
        with m.FSM():
            with m.State("PICK"):
                m.d.sync += [word.eq(Mux(keys.r_rdy, keys.r_data, values.r_data))]
                m.d.sync += column.eq(~keys.r_rdy)
                m.d.comb += [keys.r_en.eq(1), values.r_en.eq(~keys.r_rdy)]
                with m.If(keys.r_rdy | values.r_rdy):
                    m.next = "HEAD"
            with m.State("HEAD"):
                m.d.sync += head.eq(word.layer * places.n_kv_heads + word.head)
                m.next = "TILE"
            with m.State("TILE"):
                key_tile = start_of(head, places.key_tiles, slot_tile)
                value_tile = head * places.channel_tiles + channel_tile
                m.d.sync += tile.eq(Mux(column, value_tile, key_tile))
                m.next = "WORD"
            with m.State("WORD"):
                key_word = tile * places.head_words + word.word
                value_word = start_of(tile, places.value_blocks, slot_block)
                m.d.sync += index.eq(Mux(column, value_word + places.key_words, key_word))
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += writer.i.valid.eq(1)
                with m.If(writer.i.ready):
                    m.next = "PICK"
