"""The sequencer: steps through the program, one pass for each group of tokens."""

from dataclasses import dataclass

from amaranth import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.machine.step import (
    RESOURCES,
    Kind,
    Operand,
    Region,
    Source,
    fetch_layout,
    operation_layout,
    recall_layout,
    scales_layout,
    step_layout,
)
from celosia.rtl.memory.tape import Tape, run_layout
from celosia.rtl.stream.buffer import Buffer
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.queue import Queue
from celosia.rtl.stream.words import token_width

__all__ = ["Program", "Sequencer"]


@dataclass(frozen=True)
class Program:
    """What a sequencer runs, and where the tapes keep what it needs.

    Parameters
    ----------
    steps : list of dict
        Initial values of step_layout, at least 2; the last one makes the logits. Of two steps that
        set the same resource, the second or one between them waits for it.
    weight_words, scale_words : (int, int)
        Tape words of a pass without and with logits.
    embedding_address, embedding_scale_address : int
        Where the tapes hold the embedding's tiles and scales.
    embedding_words : int
        Blocks in an embedding.
    embedding_planes : bool
        Each block takes two words of the tape.
    embedding_shift, embedding_argument : int
        The shift of its scales, and that behind the first norm's gains.
    """

    steps: list
    weight_words: tuple
    scale_words: tuple
    embedding_address: int
    embedding_scale_address: int
    embedding_words: int
    embedding_planes: bool
    embedding_shift: int
    embedding_argument: int


class Sequencer(wiring.Component):
    """Dispatches passes: the embeddings of a group's tokens, then the program's steps, in order.

    A step goes to the operand fetcher, the collector and the row scales at once, when no resource
    it waits for is being written. Tapes are sent on their runs when a pass begins. The logits are
    those of the group's last token alone.

    From the end of a write to the step that waited for it 2 cycles, its row scales 3. Throughput
    1 step in 2 cycles; up to 7 steps may be dispatched before they are carried out, 3 before they
    are fetched.

    Parameters
    ----------
    program : Program
    rows, lanes : int, powers of two to 1024 and 64
    tokens : int, 1 to 64
    external_cache : bool
        Whether steps with keys or values are also sent to ``recall``.
    views : sequence of celosia.reference.view.View
        That steps may name: the slots of a ring are all that a step reads.

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
    recall : Out(stream of recall_layout)
        What an external cache is to read.
    written : In(RESOURCES)
        Resources whose writing has ended.
    retired : In(2)
        The number of operations that ended otherwise in this cycle.
    counted : In(1)
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

    def __init__(self, program, rows, lanes, tokens, external_cache=False, views=()):
        if len(program.steps) < 2:
            raise ValueError(f"program must have at least 2 steps, not {len(program.steps)}")
        check_power_of_two("rows", rows, 1024)
        check_power_of_two("lanes", lanes, 64)
        check_range("tokens", tokens, 1, 64)
        self.program = program
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.external_cache = external_cache
        self.views = tuple(views)
        place = unsigned(token_width(tokens))
        run = data.StructLayout({"position": unsigned(20), "group": place, "logits": 1})
        super().__init__(
            {
                "run": In(stream.Signature(run)),
                "load": In(stream.Signature(unsigned(20))),
                "position": Out(20),
                "group": Out(place),
                "fetch": Out(stream.Signature(fetch_layout())),
                "operation": Out(stream.Signature(operation_layout(tokens))),
                "scales": Out(stream.Signature(scales_layout())),
                "weights": Out(stream.Signature(run_layout())),
                "row_scales": Out(stream.Signature(run_layout())),
                "recall": Out(stream.Signature(recall_layout())),
                "written": In(RESOURCES),
                "retired": In(2),
                "counted": In(1, init=1),
                "idle": Out(1),
                "blocked": Out(1),
                "dispatching": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        n_steps = len(self.program.steps)
        m.submodules.program = steps = Tape(step_layout(), self.program.steps)
        m.submodules.steps = offered = Buffer(step_layout())  # memories are slow
        connect(m, steps.o, offered.i)
        step = offered.o.p
        queues = {
            name: self._queue(m, name, depth)
            for name, depth in (
                *(("fetch", 4), ("operation", 8), ("scales", 8)),
                *(("weights", 4), ("row_scales", 4)),
                *([("recall", 4)] if self.external_cache else []),
            )
        }
        room = Signal()  # in all queues, also if one was written just now
        m.d.sync += room.eq(~Cat(q.nearly_full for q in queues.values()).any())

        place = Signal(token_width(self.tokens))
        logits = Signal()
        remaining = Signal(20)
        loading, starting, go = Signal(), Signal(), Signal()
        busy = Signal(RESOURCES)
        clear = Signal()  # of the step that is offered: no resource it waits for is busy
        under_way = Signal(8)
        begun = Signal()  # an operation, a cycle later
        quiet = Signal()  # none is under way
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
                m.d.comb += self.load.ready.eq(loading)
                m.d.sync += loading.eq(self.load.valid & room & ~loading)
                with m.If(loading):
                    m.d.sync += place.eq(place + 1)
                    with m.If(place == self.group):
                        m.next = "START"
            with m.State("START"):
                m.d.comb += [
                    starting.eq(room & self.counted & steps.run.ready),
                    steps.run.valid.eq(room & self.counted),
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
            go.eq(clear & room),
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
        for name in ("weights", "row_scales"):
            m.d.comb += queues[name].i.valid.eq(starting | loading)
        if self.external_cache:
            m.d.comb += queues["recall"].i.valid.eq(go & (step.operand != Operand.TAPE))
        with m.If(loading):
            self._load(m, queues, place)
        with m.Else():
            self._dispatch(m, queues, step, logits)
        return m

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

    def _dispatch(self, m, queues, step, logits):
        """A step, and the tapes' runs of a pass."""
        program = self.program
        blocks, seen_tiles = self._count(m, step.view)
        words, tiles, chunks = Signal(20), Signal(20), Signal(20)
        m.d.comb += [
            words.eq(Mux(step.dynamic.words, blocks, step.words)),
            tiles.eq(Mux(step.dynamic.tiles, seen_tiles, step.tiles)),
            chunks.eq(Mux(step.dynamic.chunks, blocks, step.chunks)),
        ]
        first = Mux(step.kind == Kind.LOGITS, self.group, 0)  # the sampler sees the last token
        same = {n: step[n] for n in ("kind", "argument", "shift", "norm", "head", "base")}
        self._write(
            m,
            queues,
            "operation",
            **same,
            chunks=chunks,
            single=chunks == 1,
            first=first,
            group=self.group,
        )
        self._write(m, queues, "scales", kind=step.kind, chunks=chunks, address=step.scale_address)
        same = {n: step[n] for n in ("kind", "operand", "source", "source_base", "region", "fills")}
        self._write(
            m,
            queues,
            "fetch",
            **same,
            words=words,
            tiles=tiles,
            address=step.address,
            stride=step.stride,
            planes=step.planes,
            buffer=step.argument,
        )
        if self.external_cache:
            same = {n: step[n] for n in ("operand", "address", "stride")}
            self._write(m, queues, "recall", **same, words=words, tiles=tiles)
        for name, counts in (
            ("weights", program.weight_words),
            ("row_scales", program.scale_words),
        ):
            self._write(m, queues, name, address=0, count=Mux(logits, counts[1], counts[0]))

    def _count(self, m, view):
        """Blocks and tiles of the slots that hold positions when the pass is over."""
        seen = Signal(21)  # positions
        counts = [Signal(20, name="blocks"), Signal(20, name="seen_tiles")]  # before the first step
        m.d.comb += seen.eq(self.position + self.group + 1)
        for count, size in zip(counts, (self.lanes, self.rows), strict=True):
            m.d.sync += count.eq((seen + size - 1) >> _log2(size))
        chosen = []
        for count, size in zip(counts, (self.lanes, self.rows), strict=True):
            limited = [count]
            for one in self.views:
                limited.append(count)
                if one.wraps:
                    most = one.slots // size
                    limited[-1] = limit = Signal(range(most + 1))
                    m.d.sync += limit.eq(Mux(count > most, most, count))
            limited = limited[1:] or limited
            chosen.append(Array(limited)[view] if len(limited) > 1 else limited[0])
        return chosen

    def _load(self, m, queues, place):
        """The operation that brings a token's embedding into the residual stream."""
        program = self.program
        token = self.load.payload
        tile, block = token >> _log2(self.rows), token >> _log2(self.lanes)
        words = program.embedding_words
        beats = words << program.embedding_planes
        self._write(
            m,
            queues,
            "fetch",
            kind=Kind.LOAD,
            operand=Operand.TAPE,
            source=Source.ACTIVATIONS,
            region=Region.NONE,
            fills=Mux(place == 0, Region.NORMED, Region.NONE),
            words=beats,
            tiles=1,
            planes=program.embedding_planes,
            row=token & (self.rows - 1),
        )
        self._write(
            m,
            queues,
            "operation",
            kind=Kind.LOAD,
            chunks=words,
            single=words == 1,
            argument=program.embedding_argument,
            shift=program.embedding_shift,
            first=place,
            group=place,
        )
        self._write(
            m, queues, "scales", kind=Kind.LOAD, chunks=words, lane=token & (self.lanes - 1)
        )
        self._write(
            m, queues, "weights", address=program.embedding_address + tile * beats, count=beats
        )
        address = program.embedding_scale_address + block
        self._write(m, queues, "row_scales", address=address, count=1)


def _log2(n):
    return n.bit_length() - 1
