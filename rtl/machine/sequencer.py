"""The sequencer: steps through the program, one pass for each group of tokens."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.arithmetic.division import ConstantDivider
from celosia.rtl.machine.program import Load, Program
from celosia.rtl.machine.step import (
    RESOURCES,
    WORD_MEMBERS,
    Operand,
    Region,
    Scalar,
    Source,
    fetch_layout,
    operation_layout,
    paged_layout,
    recall_layout,
    scales_layout,
    step_layout,
)
from celosia.rtl.machine.tape_runs import TapeRuns
from celosia.rtl.memory.tape import Tape, run_layout
from celosia.rtl.stream.buffer import Buffer
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.queue import Queue
from celosia.rtl.stream.words import token_width

__all__ = ["Load", "Program", "Sequencer"]


class Sequencer(wiring.Component):
    """Dispatches passes: the embeddings of a group's tokens, then the program's steps, in order.

    A step goes to the operand fetcher, the collector and the row scales at once, when no resource
    it waits for is being written. Tapes are sent on their runs when a pass begins; with experts
    runs come one by one, see :class:`TapeRuns`. The logits are those of the group's last token
    alone.

    From the end of a write to the step that waited for it 2 cycles, its row scales 3. Throughput
    1 step in 2 cycles; up to 7 steps may be dispatched before they are carried out, 3 before they
    are fetched. Where ``rows / lanes`` is no power of two, each load takes up to 7 cycles more, and
    so does each pass, to divide by it.

    Parameters
    ----------
    program : Program
    rows : int, a multiple of ``lanes`` to 1024
    lanes : int, a power of two to 64
    tokens : int, 1 to 64
    external_cache : bool
        Whether steps with keys or values are also sent to ``recall``.
    more : dict, optional
        The members of WORD_MEMBERS that the operations have; by default all.
    views : sequence of celosia.reference.view.View
        That a step's ``view`` numbers: a step reads no more than a ring has slots. Where one has
        pages, the steps of row scales, and of the external cache or else of the fetcher, say
        whether what they read is paged.

    Members
    -------
    run : In(stream of ``position``, ``group``, ``logits``)
        A pass over the tokens at ``position`` to ``position + group``, with or without the
        program's last step.
    load : In(stream of unsigned(20))
        The group's tokens, after ``run``.
    position, group : Out
        Of the pass under way.
    fetch, operation, scales : Out(stream)
        Steps, as the parts of the machine see them.
    weights, row_scales : Out(stream of run_layout)
        The tapes' runs.
    biases : Out(stream of run_layout)
        Likewise, where the program has biases.
    numbers : In(stream of unsigned)
        The experts that are chosen, where the program has any.
    recall : Out(stream of recall_layout)
        What an external cache is to read.
    written : In(RESOURCES)
        Resources whose writing has ended.
    retired : In(2)
        The number of operations that ended otherwise in this cycle.
    slots_ready : In(1)
        The slots of the pass are known: its steps may begin.
    idle : Out(1)
        Nothing is under way.
    blocked, dispatching : Out(1)
        A step waits for a resource; steps of the pass remain to be dispatched.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, program, rows, lanes, tokens, external_cache=False, more=None, views=()):
        if len(program.steps) < 2:
            raise ValueError(f"program must have at least 2 steps, not {len(program.steps)}")
        check_power_of_two("lanes", lanes, 64)
        if rows not in range(lanes, 1025, lanes):
            raise ValueError(f"rows must be a multiple of lanes ({lanes}) to 1024, not {rows!r}")
        check_range("tokens", tokens, 1, 64)
        self.program = program
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.external_cache = external_cache
        self.views = tuple(views)
        self.paged = {"scales", "recall" if external_cache else "fetch"}
        if not any(view.page for view in views):
            self.paged = set()
        self.biased = any(program.bias_words)
        chosen = {}
        if program.runs:
            self._runs = TapeRuns(program.runs, program.experts)
            chosen = {"numbers": self._runs.signature.members["numbers"]}
        self.more = WORD_MEMBERS if more is None else more
        self.routes = {name: number for number, name in enumerate(program.routes)}
        self.layout = step_layout(len(self.routes), more)
        operation = operation_layout(tokens, len(self.routes), more)
        place = unsigned(token_width(tokens))
        run = data.StructLayout({"position": unsigned(20), "group": place, "logits": 1})
        layouts = {"fetch": fetch_layout(), "scales": scales_layout(), "recall": recall_layout()}
        for name in self.paged:
            layouts[name] = paged_layout(layouts[name])
        super().__init__(
            {
                "run": In(stream.Signature(run)),
                "load": In(stream.Signature(unsigned(20))),
                "position": Out(20),
                "group": Out(place),
                "fetch": Out(stream.Signature(layouts["fetch"])),
                "operation": Out(stream.Signature(operation)),
                "scales": Out(stream.Signature(layouts["scales"])),
                "weights": Out(stream.Signature(run_layout())),
                "row_scales": Out(stream.Signature(run_layout())),
                **({"biases": Out(stream.Signature(run_layout()))} if self.biased else {}),
                **chosen,
                "recall": Out(stream.Signature(layouts["recall"])),
                "written": In(RESOURCES),
                "retired": In(2),
                "slots_ready": In(1, init=1),
                "idle": Out(1),
                "blocked": Out(1),
                "dispatching": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        n_steps = len(self.program.steps)
        m.submodules.program = steps = Tape(self.layout, self._steps())
        m.submodules.steps = offered = Buffer(self.layout)  # memories are slow
        connect(m, steps.o, offered.i)
        step = offered.o.p
        queues = {
            name: self._queue(m, name, depth)
            for name, depth in (
                *(("fetch", 4), ("operation", 8), ("scales", 8)),
                *(("weights", 4), ("row_scales", 4)),
                *([("biases", 4)] if self.biased else []),
                *([("recall", 4)] if self.external_cache else []),
            )
        }
        room = Signal()  # in all queues, also if one was written just now
        m.d.sync += room.eq(~Cat(q.nearly_full for q in queues.values()).any())
        room_for_step, ready = room, self.slots_ready
        if self.program.runs:  # of which some may wait for steps
            others = [q for name, q in queues.items() if name not in ("weights", "row_scales")]
            room_for_step, ready = Signal(), self.slots_ready & self._runs.i.ready
            m.d.sync += room_for_step.eq(~Cat(q.nearly_full for q in others).any())

        place = Signal(token_width(self.tokens))
        which = Signal(range(len(self.program.loads)))  # of the token's loads
        last_load = which == len(self.program.loads) - 1
        logits = Signal()
        remaining = Signal(20)
        loading, starting, go = Signal(), Signal(), Signal()
        busy = Signal(RESOURCES)
        clear = Signal()  # of the step that is offered: no resource it waits for is busy
        under_way = Signal(8)
        begun = Signal()  # an operation, a cycle later
        quiet = Signal()  # none is under way
        number = self._row_number(m, which, place)
        tile, row, known = self._divide_row(m, number, loading)
        counts, counted = self._count_blocks(m)
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.run.ready.eq(self.idle)
                m.d.sync += self.idle.eq(quiet)
                with m.If(self.run.valid & self.run.ready):
                    m.d.sync += [
                        self.idle.eq(0),
                        self.position.eq(self.run.p.position),
                        self.group.eq(self.run.p.group),
                        logits.eq(self.run.p.logits),
                        place.eq(0),
                    ]
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += self.load.ready.eq(loading & last_load)
                m.d.sync += loading.eq(self.load.valid & known & room & ~loading)
                with m.If(loading):
                    m.d.sync += which.eq(which + 1)
                    with m.If(last_load):
                        m.d.sync += [which.eq(0), place.eq(place + 1)]
                        with m.If(place == self.group):
                            m.next = "START"
            with m.State("START"):
                m.d.comb += [
                    starting.eq(steps.run.valid & steps.run.ready),
                    steps.run.valid.eq(room & counted & ready),
                    steps.run.p.count.eq(Mux(logits, n_steps, n_steps - 1)),
                ]
                with m.If(starting):
                    m.d.sync += remaining.eq(steps.run.p.count)
                    m.next = "RUN"
            with m.State("RUN"), m.If(go):
                m.d.sync += remaining.eq(remaining - 1)
                with m.If(remaining == 1):
                    m.next = "IDLE"

        m.d.comb += [
            go.eq(clear & room_for_step),
            offered.o.ready.eq(go),
            self.dispatching.eq(~fsm.ongoing("IDLE")),
            quiet.eq((under_way == 0) & ~begun),
        ]
        ended = Signal(4)  # operations, a cycle later
        still = busy & ~self.written
        waits = (step.waits & still).any()
        m.d.sync += [
            ended.eq(self.retired + sum(self.written)),
            busy.eq(still | Mux(go, step.sets, 0)),
            clear.eq(offered.o.valid & ~go & ~waits),
            self.blocked.eq(offered.o.valid & ~go & waits),
            begun.eq(go | loading),
            under_way.eq(under_way + begun - ended),
        ]
        for name in ("fetch", "operation", "scales"):
            m.d.comb += queues[name].i.valid.eq(go | loading)
        given = self._give_runs(m, queues, starting, logits) if self.program.runs else starting
        for name in ("weights", "row_scales"):
            m.d.comb += queues[name].i.valid.eq(given | loading)
        if self.biased:
            some = queues["biases"].i.p.count != 0
            m.d.comb += queues["biases"].i.valid.eq(starting & some)
        if self.external_cache:
            m.d.comb += queues["recall"].i.valid.eq(go & (step.operand != Operand.TAPE))
        with m.If(loading):
            self._load(m, queues, place, which, number, tile, row)
        with m.Else():
            self._dispatch(m, queues, step, logits, counts)
        return m

    def _give_runs(self, m, queues, starting, logits):
        """The tapes' runs of a pass with experts; whether one is given."""
        m.submodules.runs = runs = self._runs
        connect(m, flipped(self.numbers), runs.numbers)
        given = Signal()
        m.d.comb += [
            runs.i.valid.eq(starting),
            runs.i.payload.eq(logits),
            runs.o.ready.eq(queues["weights"].i.ready & queues["row_scales"].i.ready),
            given.eq(runs.o.valid & runs.o.ready),
        ]
        return given

    def _steps(self):
        """The steps as initial values of their layout."""
        names = dict(self.layout).keys()
        return [
            {name: value for name, value in step.items() if name in names}
            | {"route": self.routes[step["route"]]}
            for step in self.program.steps
        ]

    def _row_number(self, m, which, place):
        """The row of its table that a load brings: the token, or its position."""
        number = Signal(20)
        with m.Switch(which):
            for n, load in enumerate(self.program.loads):
                with m.Case(n):
                    position = self.position + (place if self.tokens > 1 else 0) + load.offset
                    m.d.comb += number.eq(position if load.position else self.load.payload)
        return number

    def _divide_row(self, m, number, loading):
        """The row's tile and its place there, and whether they are known."""
        lane_bits, row_bits = _log2(self.lanes), _log2(self.rows)
        if self.rows == 1 << row_bits:
            return number >> row_bits, number & (self.rows - 1), 1
        chunks = self.rows // self.lanes
        m.submodules.row_divider = divider = ConstantDivider(20 - lane_bits, chunks)
        asked = Signal()
        m.d.comb += [
            divider.dividend.eq(number >> lane_bits),
            divider.start.eq(self.load.valid & ~asked & ~loading),
        ]
        m.d.sync += asked.eq((asked | divider.start) & ~loading)
        row = Cat(number[:lane_bits], divider.remainder)
        return divider.quotient, row, asked & divider.done

    def _count_blocks(self, m):
        """Blocks and tiles of positions seen when the pass is over, and whether they are known."""
        seen = Signal(21)
        blocks, tiles = Signal(20), Signal(20)  # known before the first step
        lane_bits, row_bits = _log2(self.lanes), _log2(self.rows)
        m.d.comb += seen.eq(self.position + self.group + 1)
        m.d.sync += blocks.eq((seen + self.lanes - 1) >> lane_bits)
        if self.rows == 1 << row_bits:
            m.d.sync += tiles.eq((seen + self.rows - 1) >> row_bits)
            return (blocks, tiles), 1
        chunks = self.rows // self.lanes
        m.submodules.tile_divider = divider = ConstantDivider(21, chunks)
        begun = Signal(2)  # a pass: its position, its blocks are there
        m.d.sync += begun.eq(Cat(self.run.valid & self.run.ready, begun[0]))
        m.d.comb += [
            divider.dividend.eq(blocks + (chunks - 1)),
            divider.start.eq(begun[1]),
            tiles.eq(divider.quotient),
        ]
        return (blocks, tiles), (begun == 0) & divider.done

    def _in_view(self, m, step, count, size):
        """Of ``count`` pieces of ``size`` positions those that the step's slots hold."""
        limited = []
        for view in self.views:
            limit = count
            if view.wraps:
                most = view.slots // size
                limit = Signal(range(most + 1))
                m.d.sync += limit.eq(Mux(count > most, most, count))
            limited.append(limit)
        return Array(limited)[step.view] if len(limited) > 1 else [*limited, count][0]

    def _queue(self, m, name, depth):
        """A FIFO in front of the output ``name``."""
        o = getattr(self, name)
        m.submodules[f"{name}_queue"] = queue = Queue(o.payload.shape(), depth)
        if name in ("fetch", "operation"):  # no cycle to lose, another one behind
            connect(m, queue.o, flipped(o))
            return queue
        m.submodules[f"{name}_buffer"] = buffer = Buffer(o.payload.shape())
        connect(m, queue.o, buffer.i)
        connect(m, buffer.o, flipped(o))
        return queue

    def _write(self, m, queues, name, **fields):
        """Set what enters a queue; members not named are 0."""
        for member, value in fields.items():
            m.d.comb += queues[name].i.p[member].eq(value)

    def _dispatch(self, m, queues, step, logits, counts):
        """A step, and the tapes' runs of a pass."""
        program = self.program
        blocks = self._in_view(m, step, counts[0], self.lanes)
        seen_tiles = self._in_view(m, step, counts[1], self.rows)
        words, tiles, chunks = Signal(20), Signal(20), Signal(20)
        m.d.comb += [
            words.eq(Mux(step.dynamic.words, blocks, step.words)),
            tiles.eq(Mux(step.dynamic.tiles, seen_tiles, step.tiles)),
            chunks.eq(Mux(step.dynamic.chunks, blocks, step.chunks)),
        ]
        scalar = step.scalar.as_value()
        queried, summed = ((scalar & one.value).any() for one in (Scalar.QUERY, Scalar.SUM))
        same = ("route", "loads", "restarts", "scalar", "argument", "shift", "head", "base")
        self._write(
            m,
            queues,
            "operation",
            **{n: step[n] for n in (*same, *self.more)},
            chunks=chunks,
            single=chunks == 1,
            first=Mux(step.last_token, self.group, 0),
            group=self.group,
        )
        self._write(m, queues, "scales", steps=queried, chunks=chunks, address=step.scale_address)
        same = ("operand", "source", "source_base", "region", "fills", "loads")
        self._write(
            m,
            queues,
            "fetch",
            **{n: step[n] for n in same},
            sums=summed,
            words=words,
            tiles=tiles,
            address=step.address,
            stride=step.stride,
            planes=step.planes,
            buffer=step.argument,
        )
        if self.paged:
            paged = Const(1, 1)
            if len(self.views) > 1:
                paged = Array(view.page > 0 for view in self.views)[step.view]
            self._write(m, queues, "scales", paged=paged & queried)
            name = "recall" if self.external_cache else "fetch"
            self._write(m, queues, name, paged=paged & (step.operand != Operand.TAPE))
        if self.external_cache:
            same = {n: step[n] for n in ("operand", "address", "stride")}
            self._write(m, queues, "recall", **same, words=words, tiles=tiles)
        runs = {"weights": program.weight_words, "row_scales": program.scale_words}
        if program.runs:
            both = self._runs.o.p
            runs = {}
            for name, run in (("weights", both.weights), ("row_scales", both.scales)):
                self._write(m, queues, name, address=run.address, count=run.count)
        if self.biased:
            runs["biases"] = program.bias_words
        for name, counts in runs.items():
            self._write(m, queues, name, address=0, count=Mux(logits, counts[1], counts[0]))

    def _load(self, m, queues, place, which, number, tile, row):
        """The operation that brings a token's row of a table into the residual stream."""
        lane, block = number & (self.lanes - 1), number >> _log2(self.lanes)
        with m.Switch(which):
            for n, load in enumerate(self.program.loads):
                with m.Case(n):
                    self._load_row(m, queues, place, load, n == 0, (tile, row, block, lane))

    def _load_row(self, m, queues, place, load, first, where):
        tile, row, block, lane = where
        beats = load.words << load.planes
        self._write(
            m,
            queues,
            "fetch",
            loads=1,
            operand=Operand.TAPE,
            source=Source.ACTIVATIONS,
            region=Region.NONE,
            fills=Mux(place == 0, Region.NORMED, Region.NONE) if first else Region.NONE,
            words=beats,
            tiles=1,
            planes=load.planes,
            row=row,
        )
        told = {"keep": load.keep, "normed": load.normed}
        self._write(
            m,
            queues,
            "operation",
            route=self.routes["residual"],
            loads=1,
            restarts=load.normed,
            chunks=load.words,
            single=load.words == 1,
            argument=load.argument,
            shift=load.shift,
            first=place,
            group=place,
            **{name: value for name, value in told.items() if name in self.more},
        )
        self._write(m, queues, "scales", single=1, chunks=load.words, lane=lane)
        self._write(m, queues, "weights", address=load.address + tile * beats, count=beats)
        self._write(m, queues, "row_scales", address=load.scale_address + block, count=1)


def _log2(n):
    return n.bit_length() - 1
