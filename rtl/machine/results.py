"""The machine's results, wired: the fabric's words through scaling and their routes to memories."""

from amaranth import Cat
from amaranth.lib.wiring import connect
from celosia.rtl.machine.routes import SINKS, link, routes_of
from celosia.rtl.stream.buffer import Buffer, Skid

__all__ = ["wire_results"]


def wire_results(m, machine, u):
    """Scaled words by their routes' units into the memories."""
    connect(m, u.collect.o, u.scale.i)
    starts = _distribute(m, machine, u, u.scale.o)  # a Bias would stand behind the scale
    for route in routes_of(machine.shape, machine.program):
        words = starts[route.name]
        for unit in route.units:
            component = getattr(u, unit.name)
            link(m, words, component.i)
            words = component.o
        SINKS[route.sink](m, machine, u, words, route)
    connect(m, u.norm.scalars, u.collect.norms)
    connect(m, u.merge.o, u.quantize.i)
    connect(m, u.quantize.o, u.activations.i)
    m.d.comb += [
        u.sampled.i.valid.eq(u.sampler.o.valid),
        u.sampled.i.payload.eq(u.sampler.o.p.token),
        u.sampler.o.ready.eq(1),  # the controller takes a pass's token before the next pass
    ]
    connect(m, u.sampled.o, u.controller.sampled)


def _distribute(m, machine, u, words):
    """For each route the words that take it, through a buffer near its first unit."""
    m.submodules.scaled = skid = Skid(words.p.shape())
    connect(m, words, skid.i)
    scaled = skid.o
    numbers = u.sequencer.routes
    buffers = {name: Buffer(scaled.p.shape()) for name in numbers}
    # Any full one stops the words of all: each empties by itself, and none does so often.
    m.d.comb += scaled.ready.eq(Cat(buffer.i.ready for buffer in buffers.values()).all())
    for name, number in numbers.items():
        m.submodules[f"scaled_{name}"] = buffer = buffers[name]
        m.d.comb += [
            buffer.i.payload.eq(scaled.payload),
            buffer.i.valid.eq(scaled.valid & scaled.ready & (scaled.p.route == number)),
        ]
    return {name: buffer.o for name, buffer in buffers.items()}
