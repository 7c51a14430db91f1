"""The collector: takes the fabric's tiles apart into words and joins each with its scales."""

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2
from celosia.reference.units.head_quantize import STEP_SHIFT
from celosia.reference.units.scale import ONE
from celosia.rtl.mac.scale import alignment, alignment_width
from celosia.rtl.machine.collect_place import CollectPlace, asks
from celosia.rtl.machine.step import WORD_MEMBERS, Scalar, operation_layout
from celosia.rtl.stream.buffer import Buffer
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.words import INDEX_WIDTH, framed, token_width

__all__ = ["Collect", "collected_layout", "scalar_layout"]


def scalar_layout():
    """A token's scalar: ``mantissa * 2**(-15 - shift)``."""
    return data.StructLayout({"mantissa": unsigned(17), "shift": unsigned(6)})


def collected_layout(
    lanes, acc_width, tokens, routes=16, more=None, value_steps=False, paths=1, score_width=24
):
    """A word of accumulators with all that scales it, its route and what its units are told.

    With ``paths`` there are words of scores ``beside`` it, as many lanes with steps of their own.
    """
    beside = data.StructLayout(
        {
            "data": data.ArrayLayout(signed(score_width), lanes),
            "steps": data.ArrayLayout(unsigned(9), lanes),
        }
    )
    steps = {"value_steps": data.ArrayLayout(unsigned(STEP_SHIFT), lanes)}
    return framed(
        lanes,
        acc_width,
        tokens,
        row_scale=data.ArrayLayout(unsigned(16), lanes),
        mantissa=unsigned(17),
        shift=alignment_width(acc_width),
        route=range(max(2, routes)),
        **(WORD_MEMBERS if more is None else more),
        **(steps if value_steps else {}),
        **({"beside": data.ArrayLayout(beside, paths - 1)} if paths > 1 else {}),
    )


def _one(chunks, number):
    """Of several chunks, views of lanes, the one of that number."""
    lanes = zip(*chunks, strict=True)
    return [Value.cast(Array(values)[number]).as_signed() for values in lanes]


class Collect(wiring.Component):
    """Words of each operation in order: chunk by chunk of ``lanes`` rows, token by token.

    The operation says which :class:`Scalar` its words have. A word waits for its tile, its row
    scales and its scalar.

    With ``parts`` as many chunks move together. Of weighted values each word is their sum; of
    scores ``paths`` of them leave at once, and words are numbered by their blocks of slots.

    With ``cached_rows`` operations with the scalars of a query or of a sum take their words of so
    many rows of a tile alone.

    Latency 1 cycle, 2 from a tile or an operation. Throughput 1 word per cycle; of tiles of several
    chunks, one whose first chunk is the operation's last takes 2 cycles; a word that is a sum, too.

    Parameters
    ----------
    rows : int, a multiple of ``lanes`` to 1024
    lanes, tokens : int, 1 to 64
    acc_width : int, 24 to 56
    embedded_width : int
        Bits of an embedded value.
    routes : int, at least 1
    more : dict, optional
        The members of WORD_MEMBERS that the words have; by default all.
    with_experts : bool
        Whether there are operations whose scalar is the weight of an expert; of 1 token.
    repeats : bool
        Whether norms may come again, unchanged.
    value_steps : bool
        Whether the row scales of scores have the steps of values below the keys'.
    parts : int, a power of two that divides ``rows / lanes``
    paths : int, a power of two to ``parts``
    score_width : int, 8 to ``acc_width``
        Bits of the scores that leave ``beside`` others.
    cached_rows : int, 0 or a multiple of ``lanes`` to ``rows``
        A multiple of ``lanes * parts``; 0 for all.
    wide : bool
        Whether operations say that they are wide: these, too, have ``cached_rows``.
    index_width : int, 2 to 20
        Bits of the numbers of words, and of ``chunks``: more than any operation needs cost
        registers in every unit behind.

    Members
    -------
    operation : In(stream of operation_layout)
        For tokens ``first`` to ``group``; ``chunks`` is at least 1.
    tiles : In(stream of int acc_width[tokens, rows])
    embedded : In(stream of int8[lanes])
        The words of an operation that ``loads``.
    row_scales : In(stream of uint16[lanes * paths])
    head, query_steps : Out(unsigned(8)), In(unsigned(9)[tokens])
        The steps of the operation's head, in the same cycle.
    norms : In(stream of token, mantissa and shift), always ready
        The first word, that of token 0, of an operation that ``restarts`` makes the norms before it
        invalid; words that need a norm wait until there is one for each token of the group.
    sums : In(stream of scalar_layout)
        Tokens 0 to ``group`` for each operation whose scalar is the sum.
    experts : In(stream of scalar_layout)
        One for each operation whose scalar is an expert's weight, where there are any.
    group : In(unsigned)
        The group's last token.
    o : Out(stream of collected_layout)
        ``shift`` is the operation's plus the scalar's, as :func:`celosia.rtl.mac.scale.alignment`
        limits it; ``index`` counts from ``base``.

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
        acc_width,
        embedded_width=8,
        routes=16,
        more=None,
        with_experts=False,
        repeats=False,
        value_steps=False,
        parts=1,
        paths=1,
        score_width=24,
        cached_rows=0,
        wide=False,
        index_width=INDEX_WIDTH,
    ):
        check_range("lanes", lanes, 1, 64)
        if rows not in range(lanes, 1025, lanes):
            raise ValueError(f"rows must be a multiple of lanes ({lanes}) to 1024, not {rows!r}")
        check_range("tokens", tokens, 1, 64)
        check_range("acc_width", acc_width, 24, 56)
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.acc_width = acc_width
        if with_experts and tokens != 1:
            raise ValueError(f"tokens must be 1 with experts, not {tokens!r}")
        self.more = WORD_MEMBERS if more is None else more
        self.with_experts = with_experts
        self.repeats = repeats
        self.value_steps = value_steps
        check_power_of_two("parts", parts, rows // lanes)
        check_power_of_two("paths", paths, parts)
        self.parts = parts
        self.paths = paths
        if cached_rows not in range(0, rows + 1, lanes * parts):
            raise ValueError(
                f"cached_rows must be a multiple of lanes * parts ({lanes * parts}) to rows "
                f"({rows}), not {cached_rows!r}"
            )
        self.cached_rows = cached_rows
        self.wide = wide
        check_range("index_width", index_width, 2, INDEX_WIDTH)
        self.index_width = index_width
        weights = {"experts": In(stream.Signature(scalar_layout()))} if with_experts else {}
        tile = data.ArrayLayout(data.ArrayLayout(signed(acc_width), rows), tokens)
        norm = data.StructLayout(
            {"token": unsigned(token_width(tokens)), **dict(scalar_layout().members)}
        )
        last = paths, score_width
        word = collected_layout(lanes, acc_width, tokens, routes, more, value_steps, *last)
        super().__init__(
            {
                "operation": In(stream.Signature(operation_layout(tokens, routes, more, wide))),
                "tiles": In(stream.Signature(tile)),
                "embedded": In(stream.Signature(data.ArrayLayout(signed(embedded_width), lanes))),
                "row_scales": In(stream.Signature(data.ArrayLayout(unsigned(16), lanes * paths))),
                "head": Out(8),
                "query_steps": In(data.ArrayLayout(unsigned(9), tokens)),
                "norms": In(stream.Signature(norm, always_ready=True)),
                "sums": In(stream.Signature(scalar_layout())),
                **weights,
                "group": In(token_width(tokens)),
                "o": Out(stream.Signature(word)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.collected = collected = Buffer(self.o.p.shape())
        connect(m, collected.o, flipped(self.o))
        m.submodules.operations = operations = Buffer(self.operation.p.shape())
        connect(m, flipped(self.operation), operations.i)
        operation = operations.o.p
        at = CollectPlace(self)
        scalar = Signal(scalar_layout())
        scalar_valid = Signal()
        go = Signal()
        restart = Signal()
        self._scalars(m, operations.o, at.token, scalar, scalar_valid, restart)

        held = Signal()  # a tile
        settled = self._settled(m, operation, held, go)
        step, emptied = Signal(), Signal()
        last_token, last_chunk, last = Signal(), Signal(), Signal()
        source_valid = Signal()
        bottom = at.at_bottom(operation)
        m.d.comb += [
            at.token.eq(operation.first + at.offset if self.tokens > 1 else 0),
            source_valid.eq(Mux(operation.loads, self.embedded.valid, settled)),
            go.eq(
                operations.o.valid
                & source_valid
                & self.row_scales.valid
                & scalar_valid
                & collected.i.ready
            ),
            restart.eq(go & operation.restarts & at.first_chunk & (at.token == 0)),
            last_token.eq(at.token == operation.group if self.tokens > 1 else 1),
            last_chunk.eq(Mux(at.first_chunk, operation.single, at.final)),
            last.eq(last_token & last_chunk),
            self.head.eq(operation.head),
            self.embedded.ready.eq(go & operation.loads),
            self.row_scales.ready.eq(go & last_token),
            operations.o.ready.eq(go & last),
            step.eq(go & ~operation.loads & last_token),
            emptied.eq(step & (last_chunk | bottom)),
        ]
        moves = self._moves(m, operation, at)
        lowest = self._hold(m, held, step if moves is None else step & moves, emptied)
        at.move(m, go, bottom, last_token, last_chunk, operation.chunks, moves)
        self._give(m, collected.i, go, operation, at, lowest, scalar, last_token, last)
        return m

    def _settled(self, m, operation, held, go):
        """Whether a tile is there, and where it is the operation's the sum of its lowest chunks."""
        if self.parts == 1:
            return held
        settled = Signal()
        m.d.sync += settled.eq(held & ~go)
        return held & (settled | ~asks(operation, Scalar.SUM))

    def _moves(self, m, operation, at):
        """Whether the tile moves behind a word, where it does not always."""
        if self.parts == 1:
            return None
        most = Signal(range(self.parts))
        m.d.comb += most.eq(self.parts - 1)
        with m.If(asks(operation, Scalar.QUERY)):
            m.d.comb += most.eq(self.parts // self.paths - 1)
        with m.Elif(asks(operation, Scalar.SUM)):
            m.d.comb += most.eq(0)
        return at.number == most

    def _word(self, m, given, operation, at, lowest):
        """Of ``parts`` chunks the word that is meant; and the words of scores beside it."""
        size = self.lanes * self.parts
        pieces = Signal(data.ArrayLayout(signed(self.acc_width), size), name="pieces")
        m.d.comb += pieces.eq(lowest[at.token])
        chunks = [pieces[n : n + self.lanes] for n in range(0, size, self.lanes)]
        summed = Signal(data.ArrayLayout(signed(self.acc_width), self.lanes))
        for lane, total in enumerate(summed):
            values = [chunk[lane] for chunk in chunks]
            while len(values) > 1:
                values = [a + b for a, b in zip(values[0::2], values[1::2], strict=True)]
            m.d.sync += total.eq(values[0])
        queried, chosen = asks(operation, Scalar.QUERY), Signal.like(summed, name="chosen")
        scores = [chunks[path :: self.paths] for path in range(self.paths)]
        m.d.comb += chosen.eq(Cat(_one(chunks, at.number)))
        with m.If(queried):
            m.d.comb += chosen.eq(Cat(_one(scores[0], at.number)))
        with m.Elif(asks(operation, Scalar.SUM)):
            m.d.comb += chosen.eq(summed)
        index = operation.base + at.chunk
        for path in range(1, self.paths):
            word = given.p.beside[path - 1]
            steps = self.row_scales.payload[path * self.lanes : (path + 1) * self.lanes]
            values = _one(scores[path], at.number)
            m.d.comb += [
                *(a.eq(value) for a, value in zip(word.data, values, strict=True)),
                *(a.eq(step >> STEP_SHIFT) for a, step in zip(word.steps, steps, strict=True)),
            ]
        return chosen, Mux(queried, at.chunk << exact_log2(self.paths), index)

    def _give(self, m, given, go, operation, at, lowest, scalar, last_token, last):
        """The word of this cycle, with ``go``."""
        o = given.p
        if self.parts == 1:
            index = operation.base + at.chunk
            chosen = Signal.like(lowest[0])
            m.d.comb += chosen.eq(lowest[at.token])
        else:
            chosen, index = self._word(m, given, operation, at, lowest)
        scales = self.row_scales.payload
        if self.paths > 1:
            scales = Cat(scales[lane] for lane in range(self.lanes))
        with m.If(operation.loads):
            for lane in range(self.lanes):
                m.d.comb += chosen[lane].eq(self.embedded.payload[lane])
        shift = Signal(signed(8))
        m.d.comb += [
            shift.eq(operation.shift + scalar.shift),
            given.valid.eq(go),
            o.data.eq(chosen),
            o.token.eq(at.token),
            o.index.eq(index[: self.index_width]),
            o.argument.eq(operation.argument),
            o.last.eq(last),
            o.row_scale.eq(scales),
            o.mantissa.eq(scalar.mantissa),
            o.shift.eq(alignment(m, shift, self.acc_width)),
            o.route.eq(operation.route),
            *(o[name].eq(operation[name]) for name in self.more if name != "last_token"),
            *([o.last_token.eq(last_token)] if "last_token" in self.more else []),
        ]
        if self.value_steps:
            queried = (operation.scalar.as_value() & Scalar.QUERY.value).any()
            for lane, scales in enumerate(self.row_scales.payload):  # there is one path
                m.d.comb += o.value_steps[lane].eq(scales[:STEP_SHIFT])
                with m.If(queried):
                    m.d.comb += o.row_scale[lane][:STEP_SHIFT].eq(0)

    def _hold(self, m, held, step, emptied):
        """Hold a tile until it is emptied; of each token its lowest chunk, which ``step`` drops.

        A tile of several chunks moves down by one at a time, so that none has to be chosen among
        all. It is spread far across the chip, so it is loaded and moved a cycle later than decided;
        until then the chunk comes from where it is.
        """
        chunk = data.ArrayLayout(signed(self.acc_width), self.lanes * self.parts)
        lowest = Signal(data.ArrayLayout(chunk, self.tokens))
        tile = Signal.like(self.tiles.payload)
        free, load = Signal(), Signal()
        m.d.comb += free.eq(emptied | ~held)
        m.d.comb += [a.eq(rows.as_value()) for a, rows in zip(lowest, tile, strict=True)]
        m.d.sync += held.eq(load | (held & ~emptied))
        if self.rows == self.lanes * self.parts:
            m.d.comb += [load.eq(self.tiles.valid & free), self.tiles.ready.eq(free)]
            with m.If(load):
                m.d.sync += tile.eq(self.tiles.payload)
            return lowest
        loads, moves = Signal(), Signal()
        copy_loads, copy_moves = Signal(), Signal()  # for the tile
        moving = step & ~emptied
        m.d.comb += [load.eq(self.tiles.valid & free & ~loads), self.tiles.ready.eq(loads)]
        m.d.sync += [
            *(loads.eq(load), copy_loads.eq(load)),
            *(moves.eq(moving), copy_moves.eq(moving)),
        ]
        with m.If(loads):
            m.d.comb += [
                a.eq(rows.as_value()) for a, rows in zip(lowest, self.tiles.p, strict=True)
            ]
        with m.If(moves):
            m.d.comb += [
                a.eq(rows.as_value()[chunk.size :]) for a, rows in zip(lowest, tile, strict=True)
            ]
        with m.If(copy_loads):
            m.d.sync += tile.eq(self.tiles.payload)
        with m.Elif(copy_moves):
            m.d.sync += [rows.eq(rows.as_value() >> chunk.size) for rows in tile]
        return lowest

    def _scalars(self, m, operation, token, scalar, valid, restart):
        """Hold the norms and the sums of the group; choose the operation's scalar."""
        asked = operation.p.scalar.as_value()
        normed, queried, summed = (
            (asked & one.value).any() for one in (Scalar.NORM, Scalar.QUERY, Scalar.SUM)
        )
        norms = Signal(data.ArrayLayout(scalar_layout(), self.tokens))
        norms_held = Signal(range(self.tokens + 1))
        all_norms = Signal()
        sums = Signal(data.ArrayLayout(scalar_layout(), self.tokens))
        sums_held = Signal(range(self.tokens + 1))
        all_sums = Signal()
        norm = self.norms.p
        with m.If(restart):
            m.d.sync += [norms_held.eq(0), all_norms.eq(0)]
        complete = norms_held == self.group
        with m.If(self.norms.valid):
            m.d.sync += [
                norms[norm.token].mantissa.eq(norm.mantissa),
                norms[norm.token].shift.eq(norm.shift),
                norms_held.eq(norms_held + 1),
                all_norms.eq(complete | all_norms if self.repeats else complete),
            ]
        m.d.comb += self.sums.ready.eq(~all_sums)
        with m.If(self.sums.valid & self.sums.ready):
            m.d.sync += [
                sums[sums_held].eq(self.sums.p),
                sums_held.eq(sums_held + 1),
                all_sums.eq(sums_held == self.group),
            ]
        with m.If(operation.ready & summed):
            m.d.sync += [sums_held.eq(0), all_sums.eq(0)]
        missing = (normed & ~all_norms) | (summed & ~all_sums)
        if self.with_experts:
            weighed = (asked & Scalar.EXPERT.value).any()
            missing |= weighed & ~self.experts.valid
            m.d.comb += self.experts.ready.eq(operation.ready & weighed)
        m.d.comb += valid.eq(~missing)
        with m.If(normed):
            m.d.comb += scalar.eq(norms[token])
        with m.Elif(summed):
            m.d.comb += scalar.eq(sums[token])
        if self.with_experts:
            with m.Elif(weighed):
                m.d.comb += scalar.eq(self.experts.p)
        with m.Else():
            m.d.comb += scalar.mantissa.eq(ONE)
            with m.If(queried):
                m.d.comb += scalar.mantissa.eq(self.query_steps[token] << STEP_SHIFT)
