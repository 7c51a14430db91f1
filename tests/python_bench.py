"""A bench in Amaranth's own simulator: slow to run, but at once there, for many small units."""

import random
import warnings
from types import SimpleNamespace

from amaranth import Module, Signal, Value
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator
from celosia.sim.payload import decode, encode

__all__ = ["run", "simulate", "watch"]

PATIENCE = 500


def simulate(component, bench):
    """Run the test bench ``bench``, an ``async`` function of the context, on ``component``."""
    m = Module()
    m.submodules.component = component
    m.d.sync += Signal(name="clocked").eq(1)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulator.run()


def run(*arguments, **more):
    """The payloads that :func:`watch` saw on ``o``."""
    return watch(*arguments, **more).words


def watch(component, inputs, stall=0.0, seed=0, settings=None, n_outputs=None, signals=()):
    """What the output stream ``o`` gives for the payloads ``inputs`` of the input stream ``i``.

    Other output streams are always taken. With ``stall`` offers and readiness pause at random. The
    run ends when ``n_outputs`` payloads have come, or nothing has moved for long. ``cycles`` of the
    result are those in which ``words`` were taken, the first input being offered in cycle 0;
    ``signals`` the plain outputs of these names at the end.
    """
    i, o = component.i, component.o
    chooser = random.Random(seed)
    payloads = [encode(i.payload.shape(), payload) for payload in inputs]
    given, cycles, ends = [], [], {}
    always_ready = o.signature.always_ready
    listened = [
        getattr(component, name)
        for name, member in component.signature.members.items()
        if member.is_signature and member.flow == Out and name != "o"
    ]

    async def bench(ctx):
        for name, value in (settings or {}).items():
            ctx.set(getattr(component, name), value)
        for other in listened:
            ctx.set(other.ready, 1)
        taken, idle, offering, cycle = 0, 0, False, 0
        while idle < PATIENCE and (n_outputs is None or len(given) < n_outputs):
            offering = taken < len(payloads) and (offering or chooser.random() >= stall)
            ready = always_ready or chooser.random() >= stall
            ctx.set(i.valid, offering)
            if offering:
                ctx.set(Value.cast(i.payload), payloads[taken])
            if not always_ready:
                ctx.set(o.ready, ready)
            moved = offering and ctx.get(i.ready)
            if ready and ctx.get(o.valid):
                given.append(ctx.get(Value.cast(o.payload)))
                cycles.append(cycle)
                idle = -1
            await ctx.tick()
            cycle += 1
            idle = 0 if moved else idle + 1
            if moved:
                taken, offering = taken + 1, False
        ends.update({name: ctx.get(getattr(component, name)) for name in signals})

    simulate(component, bench)
    shape = o.payload.shape()
    bits = len(Value.cast(o.payload))
    words = [decode(shape, value & ((1 << bits) - 1)) for value in given]
    return SimpleNamespace(words=words, cycles=cycles, signals=ends)
