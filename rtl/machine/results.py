"""The machine's results, wired: the fabric's words through scaling and their routes to memories."""

from amaranth import Cat
from amaranth.lib.wiring import connect
from celosia.reference.units.head_quantize import STEP_SHIFT
from celosia.rtl.machine.routes import SINKS, link, routes_of
from celosia.rtl.stream.buffer import Buffer, Skid
from celosia.rtl.stream.merge import Merge

__all__ = ["wire_results"]


def wire_results(m, machine, u):
    """Scaled words by their routes' units into the memories."""
    if machine.shape.paths == 1:
        connect(m, u.collect.o, u.scale.i)
    else:
        link(m, u.collect.o, u.scale.i)
        _wire_paths(m, machine, u)
    words = u.scale.o
    if any(machine.program.bias_words):
        link(m, u.scale.o, u.bias.i)
        connect(m, u.bias_tape.o, u.bias_words.i)
        connect(m, u.bias_words.o, u.bias.biases)
        words = u.bias.o
    starts = _distribute(m, machine, u, words)
    routes = routes_of(machine.shape, machine.program)
    joined = {}
    for route in reversed(routes):  # those that join others come behind them
        words = starts[route.name]
        if route.name in joined:
            words = _joined(m, route.name, getattr(u, route.units[0].name).i, words, joined)
        for unit in route.units:
            component = getattr(u, unit.name)
            link(m, words, component.i)
            words = component.o
        if route.sink in starts and route.sink not in SINKS:
            joined[route.sink] = words
        else:
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


def _wire_paths(m, machine, u):
    """Scores that leave beside others into the score memory: no later than those."""
    words, lanes = u.collect.o, range(machine.shape.lanes)
    for path, target in enumerate(u.scores.beside, 1):
        scale, softmax = getattr(u, f"scale_{path}"), getattr(u, f"softmax_{path}")
        beside, given = words.p.beside[path - 1], scale.i.p
        told = [name for name in scale.more if name != "route"]
        m.d.comb += [
            scale.i.valid.eq(
                words.valid & words.ready & (words.p.route == u.sequencer.routes["scores"])
            ),
            *(given[n].eq(words.p[n]) for n in ("token", "argument", "last", *told)),
            given.shift.eq(_limited(words.p.shift, len(given.shift))),
            given.index.eq(words.p.index | path),
            *(given.data[lane].eq(beside.data[lane]) for lane in lanes),
            *(given.row_scale[lane].eq(beside.steps[lane] << STEP_SHIFT) for lane in lanes),
            given.mantissa[STEP_SHIFT:16].eq(words.p.mantissa[STEP_SHIFT:16]),  # a query's step
        ]
        link(m, scale.o, softmax.i)
        link(m, softmax.o, target)


def _limited(shift, width):
    """The shift of wider accumulators for narrower ones: none moves those further than all bits."""
    return shift[:width] | shift[width:].any().replicate(width)


def _joined(m, name, target, words, joined):
    """The words of a route and of the one that joins it, which never come at the same time."""
    m.submodules[f"joined_{name}"] = merge = Merge(target.p.shape(), 2)
    link(m, words, merge.i[0])
    link(m, joined[name], merge.i[1])
    return merge.o


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
