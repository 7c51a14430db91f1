"""The machine's control, wired: host link, controller, sequencer, the causes of all cycles.

Here and beside, ``u`` has the units of ``machine`` by name, submodules of ``m``.
"""

from amaranth import Cat, Mux, Signal
from amaranth.lib import fifo
from amaranth.lib.wiring import In, connect, flipped
from amaranth.utils import ceil_log2
from celosia.reference.view import least_start
from celosia.rtl.host.axi_registers import AxiRegisters, register_pins
from celosia.rtl.host.host_answers import result
from celosia.rtl.machine.operands import read_by_page, wire_cache
from celosia.rtl.machine.routes import routes_of
from celosia.rtl.machine.run_counters import COUNTERS, Cause
from celosia.rtl.machine.saturation_wiring import wire_saturations
from celosia.rtl.machine.step import Operand
from celosia.rtl.memory.axi_port import join_pins

__all__ = ["watch", "wire_control"]


def wire_control(m, machine, u):
    """Host link, controller and sequencer; the pass's position wherever it is needed."""
    if machine.shape.register_port:
        _registers(m, machine, u)
    else:
        connect(m, flipped(machine.rx), u.link.rx)
        connect(m, u.link.tx, flipped(machine.tx))
        m.d.comb += u.controller.abort.eq(u.link.abort)
    connect(m, u.link.command, u.controller.command)
    _results_queue(m, machine, u)
    connect(m, u.controller.load, u.load.i)
    connect(m, u.load.o, u.sequencer.load)
    connect(m, read_by_page(m, machine, u, "fetch"), u.fetch.step)
    connect(m, u.sequencer.operation, u.collect.operation)
    connect(m, read_by_page(m, machine, u, "scales"), u.row_scales.i)
    connect(m, u.sequencer.weights, u.tape.run)
    connect(m, u.sequencer.row_scales, u.scale_tape.run)
    if any(machine.program.bias_words):
        connect(m, u.sequencer.biases, u.bias_tape.run)
    connect(m, u.controller.seed, u.sampler.seed)
    run = u.controller.run
    waits = _pass(m, machine, u, run.valid & run.ready)
    m.d.comb += [
        u.controller.prompt.valid.eq(u.link.prompt.valid),
        u.controller.prompt.payload.eq(u.link.prompt.payload),
        u.link.prompt.ready.eq(1),
        u.link.busy.eq(u.controller.busy),
        u.controller.idle.eq(u.sequencer.idle),
        u.sequencer.run.payload.eq(run.payload),
        u.sequencer.run.p.position.eq(run.p.position[: ceil_log2(machine.shape.max_seq_len)]),
        u.sequencer.run.valid.eq(run.valid & ~waits),
        run.ready.eq(u.sequencer.run.ready & ~waits),
    ]
    if u.link.rings:
        _least_start(m, machine, u, run)
    m.d.sync += u.sampler.temperature.eq(u.controller.temperature)  # constant while it is used
    m.d.comb += [
        machine.passes.valid.eq(u.controller.passes.valid),
        machine.passes.payload.eq(u.controller.passes.payload),
    ]
    given, logits = Signal(), u.sampler.i  # the last logits, a cycle later
    m.d.sync += given.eq(logits.valid & logits.ready & logits.p.last)
    if hasattr(u, "router"):  # never at the same time as logits
        words, ended = u.router.i, Signal(name="routed")
        m.d.sync += ended.eq(words.valid & words.ready & words.p.last)
        given = given | ended
    added = u.residual.ended if machine.program.quiet else 0
    retired, written = u.activations.written + given + added, []
    if machine.program.recurs:
        retired = retired + u.recurrent.ended
    if machine.program.attends:
        written = [u.queries.written, *wire_cache(m, machine, u), u.scores.written]
    m.d.comb += [
        u.sequencer.retired.eq(retired),
        u.sequencer.written.eq(Cat(written)),
    ]


def _least_start(m, machine, u, run):
    """Where the next run may begin: before, positions that it sees have been overwritten.

    A state is that behind the last position alone.
    """
    slots, spare = (0, 0) if machine.program.recurs else least_start(machine.shape.layer_views)
    end, least = Signal(21), Signal(20)
    m.d.comb += [
        end.eq(u.sequencer.position + (u.sequencer.group if machine.shape.tokens > 1 else 0) + 1),
        least.eq(Mux(end > slots, end - spare, 0)),
    ]
    with m.If(~u.sequencer.idle & ((u.sequencer.position == 0) | (least > u.link.least_start))):
        m.d.sync += u.link.least_start.eq(least)
    if machine.program.recurs:
        connect(m, u.link.state, u.recurrent.host)
        with m.If(u.link.resume.valid):
            m.d.sync += u.link.least_start.eq(u.link.resume.payload)


def _pass(m, machine, u, begins):
    """The pass's position and last token to all units that ask for them; whether one must wait.

    ``positions`` is a stream for what takes time: no pass begins before the one before it was
    taken. ``position``, ``seen`` and ``group`` are constant while they are used, so they may be
    late.
    """
    if machine.program.attends:
        m.d.comb += u.sequencer.slots_ready.eq(u.slots.ready)
    group = u.sequencer.group if machine.shape.tokens > 1 else 0
    waits = []
    for unit in vars(u).values():
        members = unit.signature.members
        asked = [name for name in members if members[name].flow == In]
        if "position" in asked:
            m.d.sync += unit.position.eq(u.sequencer.position)
        if "seen" in asked:
            m.d.sync += unit.seen.eq(u.slots.seen)
        if "group" in asked:
            m.d.sync += unit.group.eq(group)
        if "positions" in asked:
            wait = Signal(name="position_waits")
            m.d.comb += [
                unit.positions.valid.eq(wait),
                unit.positions.p.position.eq(u.sequencer.position),
                unit.positions.p.tokens.eq(u.sequencer.group + 1),
            ]
            with m.If(begins):
                m.d.sync += wait.eq(1)
            with m.Elif(unit.positions.ready):
                m.d.sync += wait.eq(0)
            waits.append(wait)
    return Cat(waits).any()


def _registers(m, machine, u):
    """The register port, which may take the host link from the byte streams."""
    m.submodules.registers = registers = AxiRegisters(len(COUNTERS))
    join_pins(m, machine, "", registers, register_pins())
    link, done = u.link, u.controller.done
    with m.If(registers.claim):
        m.d.comb += [
            link.rx.payload.eq(registers.rx.payload),
            link.rx.valid.eq(registers.rx.valid),
            registers.rx.ready.eq(link.rx.ready),
            registers.tx.valid.eq(link.tx.valid),
            link.tx.ready.eq(registers.tx.ready),
        ]
    with m.Else():
        m.d.comb += [
            link.rx.payload.eq(machine.rx.payload),
            link.rx.valid.eq(machine.rx.valid),
            machine.rx.ready.eq(link.rx.ready),
            machine.tx.valid.eq(link.tx.valid),
            link.tx.ready.eq(machine.tx.ready),
        ]
    m.d.comb += [
        machine.tx.payload.eq(link.tx.payload),
        registers.tx.payload.eq(link.tx.payload),
        registers.busy.eq(u.controller.busy),
        registers.fault.eq(u.controller.faulty),
        registers.ended.eq(done.valid & done.ready),
        u.controller.abort.eq(link.abort | registers.stop),
        machine.interrupt.eq(registers.interrupt),
        u.controller.number[1].eq(registers.number),
        registers.value.eq(u.controller.value[1]),
    ]


def _results_queue(m, machine, u):
    """Results wait for the line, so that the machine does not; the end of a run is the last."""
    given, done = u.controller.result, u.controller.done
    m.submodules.results = queue = fifo.SyncFIFOBuffered(
        width=result.size, depth=machine.shape.max_seq_len
    )
    connect(m, u.result.o, u.link.result)
    empty = Signal()
    m.d.sync += empty.eq(~given.valid & (queue.level == 0) & ~u.result.o.valid)
    m.d.comb += [
        queue.w_data.eq(given.payload),
        queue.w_en.eq(given.valid),
        given.ready.eq(queue.w_rdy),
        u.result.i.payload.eq(queue.r_data),
        u.result.i.valid.eq(queue.r_rdy),
        queue.r_en.eq(u.result.i.ready),
        u.link.done.payload.eq(done.payload),
        u.link.done.valid.eq(done.valid & empty),
        u.controller.number[0].eq(u.link.number),
        u.link.value.eq(u.controller.value[0]),
        done.ready.eq(u.link.done.ready & empty),
    ]


def watch(m, machine, u):
    """The taps, and the cause of every cycle."""
    fetched = u.fetch.o
    operand = u.fetch.operand
    cause = Signal(Cause)
    with m.If(fetched.valid):
        with m.If(fetched.p.embedding):
            m.d.comb += cause.eq(Cause.EMBEDDING)
        with m.Elif(operand == Operand.KEYS):
            m.d.comb += cause.eq(Cause.SCORES)
        with m.Elif(operand == Operand.VALUES):
            m.d.comb += cause.eq(Cause.VALUES)
        with m.Else():
            m.d.comb += cause.eq(Cause.LINEAR)
    with m.Elif(u.fetch.crowded):
        m.d.comb += cause.eq(Cause.RESULTS)
    with m.Elif(u.fetch.waiting):
        m.d.comb += cause.eq(Cause.TAPE)
    with m.Elif(u.fetch.recalling):
        m.d.comb += cause.eq(Cause.CACHE)
    with m.Elif(u.fetch.starved):
        m.d.comb += cause.eq(Cause.ACTIVATIONS)
    with m.Elif(u.sequencer.blocked):
        m.d.comb += cause.eq(Cause.ORDER)
    with m.Elif(u.sequencer.dispatching):
        m.d.comb += cause.eq(Cause.DISPATCH)
    with m.Elif(~u.sequencer.idle):
        m.d.comb += cause.eq(Cause.DRAIN)
    with m.Else():
        m.d.comb += cause.eq(Cause.CONTROL)
    m.d.sync += u.controller.cause.eq(cause)  # counted a cycle later
    wire_saturations(m, machine, u)
    logits = u.sampler.i
    routes = routes_of(machine.shape, machine.program)
    units = [getattr(u, unit.name).o for route in routes for unit in route.units]
    watched = (u.collect.o, *units, u.quantize.o)
    m.d.comb += [
        machine.logits.valid.eq(logits.valid & logits.ready),
        machine.logits.payload.eq(logits.payload),
        machine.activity.eq(
            Cat(cause, u.controller.busy, *(o.valid for o in watched), logits.valid)
        ),
    ]
