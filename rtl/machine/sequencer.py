"""The sequencer: steps through the program, one pass for each group of tokens."""

from typing import NamedTuple

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2
from celosia.rtl.machine.dispatch import send_load, send_step
from celosia.rtl.machine.pass_sizes import count_pieces, divide_row, row_number
from celosia.rtl.machine.step import (
    RESOURCES,
    WORD_MEMBERS,
    Operand,
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
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.queue import Queue
from celosia.rtl.stream.words import token_width

__all__ = ["Sequencer"]


class _Pass(NamedTuple):
    """What a pass is at."""

    place: Signal  # of the token that is loaded
    which: Signal  # of its loads
    logits: Signal  # the pass ends with them
    loading: Signal
    starting: Signal
    go: Signal  # a step is dispatched


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
    places : CachePlaces, optional
        Whose ``rows`` of keys make a tile, by default those of the tape; whose ``parts`` of values
        are read at once, and whose ``paths`` scores take.

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

    def __init__(
        self, program, rows, lanes, tokens, external_cache=False, more=None, views=(), places=None
    ):
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
        self.parts, paths = (places.parts, places.paths) if places else (1, 1)
        self.cached_rows = places.rows if places else rows
        self.score_bits = exact_log2(self.parts // paths)  # words of scores for one of values
        self.paged = {"scales", "recall" if external_cache else "fetch"}
        if not any(view.page for view in views):
            self.paged = set()
        self.biased = any(program.bias_words)
        self.wide = program.wide
        chosen = {}
        if program.runs:
            self.chosen_runs = TapeRuns(program.runs, program.experts)
            chosen = {"numbers": self.chosen_runs.signature.members["numbers"]}
        self.more = WORD_MEMBERS if more is None else more
        self.routes = {name: number for number, name in enumerate(program.routes)}
        self.layout = step_layout(len(self.routes), more)
        operation = operation_layout(tokens, len(self.routes), more, self.wide)
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
        m.submodules.program = steps = Tape(self.layout, self._steps())
        offered = stream.Signature(self.layout).create()
        pipe = Pipeline(m, steps.o, offered)  # memories are slow
        pipe.finish(*pipe.stage(steps.o.payload))
        queues = self._queues(m)
        room, room_for_step, ready = self._room(m, queues)

        place = Signal(token_width(self.tokens))
        which = Signal(range(len(self.program.loads)))
        logits = Signal()
        loading, starting, go = Signal(), Signal(), Signal()
        now = _Pass(place, which, logits, loading, starting, go)
        number = row_number(m, self, which, place)
        tile, row, known = divide_row(m, self, number, loading)
        counts, counted = count_pieces(m, self)
        quiet = Signal()  # no operation is under way
        may_load, may_start = self.load.valid & known & room, room & counted & ready
        fsm = self._walk(m, now, steps.run, may_load, may_start, quiet)
        self._watch(m, now, offered, room_for_step, quiet, fsm)
        self._fill(m, now, queues, offered.p)
        with m.If(loading):
            send_load(m, self, queues, now, number, tile, row)
        with m.Else():
            send_step(m, self, queues, offered.p, logits, counts)
        return m

    def _queues(self, m):
        """A FIFO in front of each output, by its name."""
        depths = {"fetch": 4, "operation": 8, "scales": 8, "weights": 4, "row_scales": 4}
        depths |= {"biases": 4} if self.biased else {}
        depths |= {"recall": 4} if self.external_cache else {}
        return {name: self._queue(m, name, depth) for name, depth in depths.items()}

    def _queue(self, m, name, depth):
        o = getattr(self, name)
        m.submodules[f"{name}_queue"] = queue = Queue(o.payload.shape(), depth)
        if name in ("fetch", "operation"):  # no cycle to lose, another one behind
            connect(m, queue.o, flipped(o))
            return queue
        m.submodules[f"{name}_buffer"] = buffer = Buffer(o.payload.shape())
        connect(m, queue.o, buffer.i)
        connect(m, buffer.o, flipped(o))
        return queue

    def _room(self, m, queues):
        """Room in all queues, also if one was written just now; for a step; to begin a pass."""
        room = Signal()
        m.d.sync += room.eq(~Cat(q.nearly_full for q in queues.values()).any())
        if not self.program.runs:
            return room, room, self.slots_ready
        # Runs may wait for steps.
        others = [q for name, q in queues.items() if name not in ("weights", "row_scales")]
        room_for_step = Signal()
        m.d.sync += room_for_step.eq(~Cat(q.nearly_full for q in others).any())
        return room, room_for_step, self.slots_ready & self.chosen_runs.i.ready

    def _walk(self, m, now, steps, may_load, may_start, quiet):
        """From pass to pass: its loads, the start of its steps, their count."""
        n_steps = len(self.program.steps)
        last_load = now.which == len(self.program.loads) - 1
        remaining = Signal(range(n_steps + 1))
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.run.ready.eq(self.idle)
                m.d.sync += self.idle.eq(quiet)
                with m.If(self.run.valid & self.run.ready):
                    m.d.sync += [
                        self.idle.eq(0),
                        self.position.eq(self.run.p.position),
                        self.group.eq(self.run.p.group),
                        now.logits.eq(self.run.p.logits),
                        now.place.eq(0),
                    ]
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += self.load.ready.eq(now.loading & last_load)
                m.d.sync += now.loading.eq(may_load & ~now.loading)
                with m.If(now.loading):
                    m.d.sync += now.which.eq(now.which + 1)
                    with m.If(last_load):
                        m.d.sync += [now.which.eq(0), now.place.eq(now.place + 1)]
                        with m.If(now.place == self.group):
                            m.next = "START"
            with m.State("START"):
                m.d.comb += [
                    now.starting.eq(steps.valid & steps.ready),
                    steps.valid.eq(may_start),
                    steps.p.count.eq(Mux(now.logits, n_steps, n_steps - 1)),
                ]
                with m.If(now.starting):
                    m.d.sync += remaining.eq(steps.p.count)
                    m.next = "RUN"
            with m.State("RUN"), m.If(now.go):
                m.d.sync += remaining.eq(remaining - 1)
                with m.If(remaining == 1):
                    m.next = "IDLE"
        return fsm

    def _watch(self, m, now, offered, room, quiet, fsm):
        """Which resources are being written, whether the step may go, what is under way."""
        step = offered.p
        busy = Signal(RESOURCES)
        clear = Signal()  # of the step that is offered: no resource it waits for is busy
        under_way = Signal(8)
        begun = Signal()  # an operation, a cycle later
        m.d.comb += [
            now.go.eq(clear & room),
            offered.ready.eq(now.go),
            self.dispatching.eq(~fsm.ongoing("IDLE")),
            quiet.eq((under_way == 0) & ~begun),
        ]
        ended = Signal(4)  # operations, a cycle later
        still = busy & ~self.written
        waits = (step.waits & still).any()
        m.d.sync += [
            ended.eq(self.retired + sum(self.written)),
            busy.eq(still | Mux(now.go, step.sets, 0)),
            clear.eq(offered.valid & ~now.go & ~waits),
            self.blocked.eq(offered.valid & ~now.go & waits),
            begun.eq(now.go | now.loading),
            under_way.eq(under_way + begun - ended),
        ]

    def _fill(self, m, now, queues, step):
        """When each queue is written."""
        for name in ("fetch", "operation", "scales"):
            m.d.comb += queues[name].i.valid.eq(now.go | now.loading)
        given = self._give_runs(m, queues, now) if self.program.runs else now.starting
        for name in ("weights", "row_scales"):
            m.d.comb += queues[name].i.valid.eq(given | now.loading)
        if self.biased:
            some = queues["biases"].i.p.count != 0
            m.d.comb += queues["biases"].i.valid.eq(now.starting & some)
        if self.external_cache:
            asks = step.operand != Operand.TAPE
            asks = asks & (step.operand != Operand.WIDE) if self.wide else asks
            m.d.comb += queues["recall"].i.valid.eq(now.go & asks)

    def _give_runs(self, m, queues, now):
        """The tapes' runs of a pass with experts; whether one is given."""
        m.submodules.runs = runs = self.chosen_runs
        connect(m, flipped(self.numbers), runs.numbers)
        given = Signal()
        m.d.comb += [
            runs.i.valid.eq(now.starting),
            runs.i.payload.eq(now.logits),
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
