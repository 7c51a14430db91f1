"""A bench in Amaranth's own simulator: slow to run, but at once there, for many small units."""

import random
import warnings

from amaranth import Module, Signal, Value
from amaranth.sim import Simulator
from celosia.sim.payload import decode, encode

__all__ = ["run"]

PATIENCE = 2000


def run(component, inputs, stall=0.0, seed=0, settings=None, n_outputs=None):
    """What the output stream ``o`` gives for the payloads ``inputs`` of the input stream ``i``.

    With ``stall`` offers and readiness pause at random. The run ends when ``n_outputs`` payloads
    have come, or nothing has moved for long.
    """
    i, o = component.i, component.o
    chooser = random.Random(seed)
    payloads = [encode(i.payload.shape(), payload) for payload in inputs]
    given = []

    async def bench(ctx):
        for name, value in (settings or {}).items():
            ctx.set(getattr(component, name), value)
        taken, idle, offering = 0, 0, False
        while idle < PATIENCE and (n_outputs is None or len(given) < n_outputs):
            offering = taken < len(payloads) and (offering or chooser.random() >= stall)
            ready = chooser.random() >= stall
            ctx.set(i.valid, offering)
            if offering:
                ctx.set(Value.cast(i.payload), payloads[taken])
            ctx.set(o.ready, ready)
            moved = offering and ctx.get(i.ready)
            if ready and ctx.get(o.valid):
                given.append(ctx.get(Value.cast(o.payload)))
                idle = -1
            await ctx.tick()
            idle = 0 if moved else idle + 1
            if moved:
                taken, offering = taken + 1, False

    m = Module()
    m.submodules.component = component
    m.d.sync += Signal(name="clocked").eq(1)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulator.run()
    shape = o.payload.shape()
    bits = len(Value.cast(o.payload))
    return [decode(shape, value & ((1 << bits) - 1)) for value in given]
