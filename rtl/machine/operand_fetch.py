"""The operand fetcher: walks a step's tiles and brings weights and activations together."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.units.softmax import SPAN
from celosia.rtl.mac.group_scales import weights_layout
from celosia.rtl.mac.mac_fabric import SHARING, activation_layout, beat_layout
from celosia.rtl.machine.step import Operand, Region, Source, fetch_layout
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.words import INDEX_WIDTH

__all__ = ["EXPONENT_WIDTH", "OperandFetch", "fetched_layout", "mark_layout", "score_layout"]

CACHED_WIDTH = 8
EXPONENT_WIDTH = 10  # the fewest bits of the exponent of a block of exponentials

_FRAME = {
    "operand": Operand,
    "source": Source,
    "buffer": 2,
    "row": 10,
    "from_tape": 1,
    "embedding": 1,
    "upper": 1,
    "sum": 1,
    "first": 1,
    "last": 1,
}


def mark_layout():
    """How far a region is filled: up to ``end``, which no word has.

    In this cycle a word is written to ``fresh`` where ``moves`` is set, and ``end`` goes behind it;
    where ``falls`` is set, back to where the region begins.
    """
    return data.StructLayout(
        {"end": unsigned(INDEX_WIDTH), "fresh": unsigned(INDEX_WIDTH), "moves": 1, "falls": 1}
    )


def score_layout(lanes, exponent_width=EXPONENT_WIDTH):
    """A block of exponentials as the score memory keeps it: ``power[lanes] * 2**exponent``."""
    return data.StructLayout(
        {"power": data.ArrayLayout(unsigned(7), lanes), "exponent": signed(exponent_width)}
    )


def fetched_layout(rows, lanes, tokens, groups=None):
    """A beat, and what it is for: an ``embedding`` (of ``row``) or a summand of a softmax.

    Its weights are as wide as the cache's keys and values. ``upper`` marks an upper plane's beat.
    """
    return data.StructLayout(
        {
            "beat": beat_layout(rows, lanes, tokens, CACHED_WIDTH, groups),
            "upper": 1,
            "embedding": 1,
            "row": unsigned(10),
            "sum": 1,
            "sum_last": 1,
        }
    )


class OperandFetch(wiring.Component):
    """For each step, ``tiles x words`` beats: operand ``address + tile * stride + word`` beside
    activations ``source_base + word``, in a step of two planes ``source_base + word / 2``.

    A beat waits until its activation word lies below its region's fill mark and, for operands from
    the tape, until the tape delivers. None has to wait once it is offered: while ``full`` is high
    no further beat begins, and ``o`` must have room for the two that have. Exponentials are aligned
    to the largest exponent of their score vector, as :func:`celosia.reference.units.softmax.align`
    does.

    Latency 3 cycles from a step's acceptance to its first beat. Throughput 1 beat per cycle, also
    from step to step.

    Parameters
    ----------
    rows : int, 1 to 1024
    lanes, tokens : int, 1 to 64
    weight_width : int, 2 to 8
        Bits of the tape's weights; narrow ones are extended to the beat's 8.
    groups : GroupFormat, optional
        The tape's weights come with scales; keys and values get 1, and no offset.
    external_cache : bool
        Whether keys and values come from the stream ``cached``, in the order of the steps.
    blocks : int, 1 to 2**20 - 1
        In the activation memory: no mark lies above.
    exponent_width : int, 10 to 26
        Bits of the exponentials' exponents.
    pieces : bool
        Whether steps may be pieces of a tile.

    Members
    -------
    step : In(stream of fetch_layout)
        ``words`` and ``tiles`` are at least 1. A step does not fill the region that it reads.
    tape : In(stream of int weight_width[rows, lanes], or of weights_layout)
    cached : In(stream of int8[rows, lanes])
        Keys and values, where the cache is external.
    filled : In(mark_layout, 3 times)
        Of each :class:`Region`.
    address, activation_address : Out(unsigned)
    read_en : Out(1)
        All memories are read at once; data follow one cycle later and stay while it is low.
    keys, values, activations, queries, scores : In
        What the memories read.
    largest : In(signed(exponent_width) for each token)
        The largest exponent of the score vector ``buffer``.
    buffer : Out(unsigned(2))
    o : Out(stream of fetched_layout), always ready
    full : In(1)
        There is room for 2 beats at most, those of the cycle before counted.
    refill, refill_en : Out(Region), Out(1)
        The region that a step will fill anew, in the cycle after its acceptance.
    operand : Out(Operand)
        Of the beat that ``o`` offers.
    starved, crowded, waiting, recalling : Out(1)
        There is no beat, because its activations were not yet written, there is no room, the tape
        has none, or the external cache.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(
        self,
        rows,
        lanes,
        tokens,
        weight_width,
        groups=None,
        external_cache=False,
        blocks=(1 << INDEX_WIDTH) - 1,
        exponent_width=EXPONENT_WIDTH,
        pieces=False,
    ):
        check_range("rows", rows, 1, 1024)
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("weight_width", weight_width, 2, CACHED_WIDTH)
        check_range("blocks", blocks, 1, (1 << INDEX_WIDTH) - 1)
        check_range("exponent_width", exponent_width, EXPONENT_WIDTH, 26)
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.weight_width = weight_width
        self.groups = groups
        self.external_cache = external_cache
        self.blocks = blocks
        self.exponent_width = exponent_width
        self.pieces = pieces
        fetched = fetched_layout(rows, lanes, tokens, groups)
        weights = data.ArrayLayout(data.ArrayLayout(signed(weight_width), lanes), rows)
        if groups:
            weights = weights_layout(rows, lanes, groups)
        cached = data.ArrayLayout(data.ArrayLayout(signed(CACHED_WIDTH), lanes), rows)
        mantissas = data.ArrayLayout(signed(8), lanes)
        super().__init__(
            {
                "step": In(stream.Signature(fetch_layout(pieces))),
                "tape": In(stream.Signature(weights)),
                "cached": In(stream.Signature(cached)),
                "filled": In(mark_layout()).array(3),
                "address": Out(28),
                "activation_address": Out(INDEX_WIDTH),
                "read_en": Out(1),
                "keys": In(cached),
                "values": In(cached),
                "activations": In(data.ArrayLayout(activation_layout(lanes), tokens)),
                "queries": In(data.ArrayLayout(mantissas, tokens)),
                "scores": In(data.ArrayLayout(score_layout(lanes, exponent_width), tokens)),
                "largest": In(data.ArrayLayout(signed(exponent_width), tokens)),
                "buffer": Out(2),
                "o": Out(stream.Signature(fetched, always_ready=True)),
                "full": In(1),
                "refill": Out(Region),
                "refill_en": Out(1),
                "operand": Out(Operand),
                "starved": Out(1),
                "crowded": Out(1),
                "waiting": Out(1),
                "recalling": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        frame = data.StructLayout(_FRAME | ({"opens": 1, "closes": 1} if self.pieces else {}))
        beat = Signal(frame)  # of the beat that the memories are asked for
        held = Signal()  # the memories' outputs are a beat
        fetched = Signal(frame)  # that one
        offered = Signal(frame)
        advance = Signal()
        starved, crowded = Signal(), Signal()  # why there is no beat
        active, available = self._walk(m, beat, advance)
        from_cache = ~fetched.from_tape & self.external_cache
        reads_tape = Signal()  # that one is from there
        absent = (reads_tape & ~self.tape.valid) | (held & from_cache & ~self.cached.valid)
        m.d.comb += [
            advance.eq(~absent),
            self.read_en.eq(advance),
            self.tape.ready.eq(reads_tape),
            self.cached.ready.eq(held & from_cache),
        ]
        with m.If(advance):
            m.d.sync += [
                held.eq(active & available & ~self.full),
                reads_tape.eq(active & available & ~self.full & beat.from_tape),
                starved.eq(active & ~available),
                crowded.eq(active & available & self.full),
                fetched.eq(beat),
                self.buffer.eq(beat.buffer),
            ]
        m.d.sync += [
            self.o.valid.eq(held & ~absent),
            self.starved.eq(starved & ~held),
            self.crowded.eq(crowded & ~held),
            self.waiting.eq(absent & reads_tape),
            self.recalling.eq(absent & ~reads_tape),
            offered.eq(fetched),
        ]
        o, first, last = self.o.p, offered.first, offered.last
        if self.pieces:
            first, last = first & offered.opens, last & offered.closes
        m.d.comb += [
            self.operand.eq(offered.operand),
            o.beat.first.eq(first),
            o.beat.last.eq(last),
            o.embedding.eq(offered.embedding),
            o.row.eq(offered.row),
            o.upper.eq(offered.upper),
            o.sum.eq(offered.sum),
            o.sum_last.eq(last),
        ]
        self._choose_weights(m, fetched, offered)
        for token in range(self.tokens):
            self._choose_block(m, fetched, offered, token)
        return m

    def _walk(self, m, beat, advance):
        """The beats of one step after the other; whether there is one, and its word was written.

        Addresses and ends are registers: they are known before their beat.
        """
        step = Signal(fetch_layout(self.pieces))
        active, available, begin = Signal(), Signal(), Signal()
        first_tile, last_tile, single = Signal(), Signal(), Signal()
        words, tiles = Signal(INDEX_WIDTH), Signal(INDEX_WIDTH)  # left, with this one
        next_tile = Signal(28)
        ahead = Signal(INDEX_WIDTH)  # activation_address + 1
        new, accepted = self.step.p, Signal()
        m.d.comb += [
            begin.eq(active & available & advance & ~self.full),
            self.step.ready.eq(~active | (begin & beat.last & last_tile)),
            accepted.eq(self.step.valid & self.step.ready),
            beat.operand.eq(step.operand),
            beat.source.eq(step.source),
            beat.row.eq(step.row),
            beat.buffer.eq(step.buffer),
            beat.from_tape.eq(step.operand == Operand.TAPE),
            beat.embedding.eq(step.loads),
            beat.sum.eq(step.sums & first_tile),
            *(beat[name].eq(step[name]) for name in ("opens", "closes") if self.pieces),
        ]
        with m.If(begin):
            m.d.sync += [
                self.address.eq(self.address + 1),
                self.activation_address.eq(self.activation_address + ~beat.upper),
                ahead.eq(ahead + ~beat.upper),
                words.eq(words - 1),
                beat.upper.eq(step.planes & ~beat.upper),
                beat.first.eq(0),
                beat.last.eq(words == 2),
            ]
            with m.If(beat.last):
                m.d.sync += [
                    self.address.eq(next_tile),
                    next_tile.eq(next_tile + step.stride),
                    self.activation_address.eq(step.source_base),
                    ahead.eq(step.source_base + 1),
                    words.eq(step.words),
                    tiles.eq(tiles - 1),
                    beat.first.eq(1),
                    beat.last.eq(single),
                    beat.upper.eq(step.planes),
                    first_tile.eq(0),
                    last_tile.eq(tiles == 2),
                    active.eq(~last_tile),
                ]
        with m.If(accepted):
            m.d.sync += [
                step.eq(new),
                active.eq(1),
                self.address.eq(new.address),
                next_tile.eq(new.address + new.stride),
                self.activation_address.eq(new.source_base),
                ahead.eq(new.source_base + 1),
                words.eq(new.words),
                tiles.eq(new.tiles),
                single.eq(new.words == 1),
                beat.upper.eq(new.planes),
                beat.first.eq(1),
                beat.last.eq(new.words == 1),
                first_tile.eq(1),
                last_tile.eq(new.tiles == 1),
            ]
        m.d.sync += [
            self.refill.eq(new.fills),
            self.refill_en.eq(accepted & (new.fills != Region.NONE)),
        ]
        # Whether the next beat's word is there, a cycle ahead: this one goes on, or that one comes.
        there = self._written(m, self.activation_address, step.region)
        after = self._written(m, ahead, step.region)
        again = self._written(m, step.source_base, step.region)
        with m.If(accepted):
            m.d.sync += available.eq(self._written(m, new.source_base, new.region))
        with m.Elif(begin):
            m.d.sync += available.eq(Mux(beat.last, again, Mux(beat.upper, there, after)))
        with m.Else():
            m.d.sync += available.eq(there)
        return active, available

    def _written(self, m, address, region):
        """Whether the activations at ``address`` can be read in the next cycle."""
        bits = self.blocks.bit_length()
        below, written = Signal(len(self.filled)), Signal()
        place = address[:bits]
        for n, mark in enumerate(self.filled):
            fresh = mark.moves & (place <= mark.fresh[:bits])
            m.d.comb += below[n].eq(((place < mark.end[:bits]) | fresh) & ~mark.falls)
        with m.Switch(region):
            for index, one in enumerate((Region.NORMED, Region.ATTENTION, Region.HIDDEN)):
                with m.Case(one):
                    m.d.comb += written.eq(below[index])
            with m.Default():
                m.d.comb += written.eq(1)
        return written

    def _choose_weights(self, m, fetched, offered):
        """What the memories gave, in registers: they are slow."""
        words = {"tape": self.tape.payload, "keys": self.keys, "values": self.values}
        if self.external_cache:
            words = {"tape": self.tape.payload, "cached": self.cached.payload}
        registers = {name: Signal.like(word, name=f"{name}_word") for name, word in words.items()}
        m.d.sync += [registers[name].eq(word) for name, word in words.items()]
        tape = registers["tape"]
        keys, values = (registers.get(n, registers.get("cached")) for n in ("keys", "values"))
        if self.groups:
            self._choose_parameters(m, offered, tape.parameters)
            tape = tape.weights
        for row in range(self.rows):
            if row % SHARING == 0:
                operand = Signal(Operand, name=f"copy_operand_{row}")
                m.d.sync += operand.eq(fetched.operand)
            for lane in range(self.lanes):
                weight = self.o.p.beat.weights[row][lane]
                with m.Switch(operand):
                    with m.Case(Operand.KEYS):
                        m.d.comb += weight.eq(keys[row][lane])
                    with m.Case(Operand.VALUES):
                        m.d.comb += weight.eq(values[row][lane])
                    with m.Default():
                        m.d.comb += weight.eq(tape[row][lane])

    def _choose_parameters(self, m, offered, parameters):
        """Scales and offsets: an upper plane's scale is the lower's shifted, without an offset."""
        groups = self.groups
        for chosen, read in zip(self.o.p.beat.parameters, parameters, strict=True):
            upper = read.scale << groups.weight_width
            scale = Mux(offered.upper, upper, read.scale) if groups.planes else read.scale
            m.d.comb += chosen.scale.eq(Mux(offered.from_tape, scale, 1))
            if groups.offsets:
                lower = offered.from_tape & ~offered.upper
                m.d.comb += chosen.offset.eq(Mux(lower, read.offset, 0))

    def _choose_block(self, m, fetched, offered, token):
        """A token's block; exponentials are aligned when they are offered."""
        read = Signal(activation_layout(self.lanes), name=f"read_{token}")
        score = self.scores[token]
        shift = Signal(signed(self.exponent_width + 2), name=f"shift_{token}")
        m.d.sync += shift.eq(score.exponent - self.largest[token] + SPAN)
        with m.Switch(fetched.source):
            with m.Case(Source.SCORES):
                for lane in range(self.lanes):
                    m.d.sync += read.mantissa[lane].eq(score.power[lane])
            with m.Case(Source.QUERIES):
                m.d.sync += [read.mantissa.eq(self.queries[token]), read.exponent.eq(0)]
            with m.Default():
                m.d.sync += read.eq(self.activations[token])
        block = self.o.p.beat.activations[token]
        m.d.comb += block.eq(read)
        with m.If(offered.source == Source.SCORES):
            m.d.comb += block.exponent.eq(Mux(shift < 0, 0, shift))
            with m.If(shift < 0):
                for lane in range(self.lanes):
                    m.d.comb += block.mantissa[lane].eq(0)
