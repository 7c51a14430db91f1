"""The operand fetcher: walks a step's tiles and brings weights and activations together."""

from amaranth import Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.quantization.trits import packed_size
from celosia.rtl.mac.format import CACHED_WIDTH
from celosia.rtl.mac.group_scales import weights_layout
from celosia.rtl.mac.mac_fabric import activation_layout
from celosia.rtl.machine.fetched import (
    EXPONENT_WIDTH,
    fetched_layout,
    frame_layout,
    mark_layout,
    score_layout,
)
from celosia.rtl.machine.operand_choice import choose_block, choose_weights
from celosia.rtl.machine.step import Operand, Region, fetch_layout
from celosia.rtl.machine.tile_walk import walk_tiles
from celosia.rtl.memory.ternary_words import octets_layout
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.words import INDEX_WIDTH

__all__ = ["OperandFetch"]

ATTENTION = ("cached", "keys", "values", "queries", "scores", "largest")  # members for it alone


class OperandFetch(wiring.Component):
    """For each step, ``tiles x words`` beats: operand ``address + tile * stride + word`` beside
    activations ``source_base + word``, in a step of two planes ``source_base + word / 2``.

    A beat waits until its activation word lies below its region's fill mark and, for operands from
    the tape, until the tape delivers. ``o`` has no back pressure: while ``full`` is high no further
    beat begins, and ``o`` must have room for the two that have. Exponentials are aligned
    to the largest exponent of their score vector, as :func:`celosia.reference.units.softmax.align`
    does.

    Latency 3 cycles from a step's acceptance to its first beat. Throughput 1 beat per cycle, also
    from step to step.

    Parameters
    ----------
    rows : int, 1 to 1024
    lanes, tokens : int, 1 to 64
    weight_width : int, 2 to 8
        Bits of the tape's weights; narrow ones are extended to the beat's.
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
    attends : bool
        Whether there are keys, values, queries and exponentials. Where not, and without groups, the
        beats' weights are those of the tape.
    total_width : int
        Bits of the exponentials' totals, where they have any.
    parts : int, 1 to 64
        Blocks of exponentials in a beat for each token; of other activations all are the same.
        Without totals where there are several.
    value_place : callable, optional
        Where ``cached`` has the value of a row and a lane, if it is not there.
    cached_rows : int, 0 to ``rows``
        Rows of keys and values, beside those of the tape; 0 where they are as many, and the same.
    wide : int, 0, 4 or 8
        Bits of wide operands, where there are any: words of the tape are [cached_rows, lanes].
    code_width : int, optional
        Bits of the beat's weights, by default 8 if keys and values or groups' weights are among
        them.

    size_width : int, 2 to 20
        Bits of a step's words and tiles.

    Members
    -------
    step : In(stream of fetch_layout)
        ``words`` and ``tiles`` are at least 1 and below ``2**size_width``. A step does not fill the
        region that it reads.
    tape : In(stream of int weight_width[rows, lanes], or of weights_layout)
    cached : In(stream of int8[cached_rows or rows, lanes])
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
        attends=True,
        total_width=0,
        value_place=None,
        parts=1,
        cached_rows=0,
        wide=0,
        code_width=None,
        trits=False,
        size_width=INDEX_WIDTH,
    ):
        check_range("rows", rows, 1, 1024)
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("weight_width", weight_width, 2, CACHED_WIDTH)
        check_range("blocks", blocks, 1, (1 << INDEX_WIDTH) - 1)
        check_range("exponent_width", exponent_width, EXPONENT_WIDTH, 26)
        check_range("size_width", size_width, 2, INDEX_WIDTH)
        self.size_width = size_width
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.weight_width = weight_width
        self.groups = groups
        self.external_cache = external_cache
        self.blocks = blocks
        self.exponent_width = exponent_width
        self.pieces = pieces
        self.attends = attends
        self.total_width = total_width
        self.value_place = value_place
        check_range("parts", parts, 1, 64)
        self.parts = parts
        check_range("cached_rows", cached_rows, 0, rows)
        self.cached_rows = cached_rows
        self.wide = wide
        octets = packed_size(rows * lanes)
        width = 8 * octets if trits else weight_width * rows * lanes
        if wide and not wide * cached_rows * lanes <= width:
            raise ValueError(f"wide operands of {cached_rows} rows do not fit the tape's words")
        self.octets = wide and trits
        mixed = (attends or groups) and not cached_rows
        width = code_width or (CACHED_WIDTH if mixed else weight_width)
        fetched = fetched_layout(
            *(rows, lanes, tokens, groups, width, total_width, parts, cached_rows)
        )
        score = score_layout(lanes, exponent_width, total_width)
        weights = data.ArrayLayout(data.ArrayLayout(signed(weight_width), lanes), rows)
        if groups:
            weights = weights_layout(rows, lanes, groups)
        if self.octets:
            weights = octets_layout(weights, data.ArrayLayout(unsigned(8), octets))
        codes = data.ArrayLayout(signed(CACHED_WIDTH), lanes)
        cached = data.ArrayLayout(codes, cached_rows or rows)
        mantissas = data.ArrayLayout(signed(8), lanes)
        members = {
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
            "scores": In(data.ArrayLayout(score, tokens * parts)),
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
        super().__init__(
            {n: member for n, member in members.items() if attends or n not in ATTENTION}
        )

    def elaborate(self, platform):
        m = Module()
        frame = frame_layout(self.pieces, self.wide)
        beat = Signal(frame)  # of the beat that the memories are asked for
        held = Signal()  # the memories' outputs are a beat
        fetched = Signal(frame)  # that one
        offered = Signal(frame)
        advance = Signal()
        starved, crowded = Signal(), Signal()  # why there is no beat
        active, available = walk_tiles(m, self, beat, advance)
        from_cache = ~fetched.from_tape & self.external_cache
        reads_tape = Signal()  # that one is from there
        absent = reads_tape & ~self.tape.valid
        if self.attends:
            absent |= held & from_cache & ~self.cached.valid
        m.d.comb += [
            advance.eq(~absent),
            self.read_en.eq(advance),
            self.tape.ready.eq(reads_tape),
            *([self.cached.ready.eq(held & from_cache)] if self.attends else []),
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
        choose_weights(m, self, fetched, offered)
        for number in range(self.tokens * self.parts):
            choose_block(m, self, fetched, offered, number)
        return m
