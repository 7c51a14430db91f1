"""The ways of result words: what each unit of a route is, and how a route ends in its memory.

A new unit with framed words ``i`` and ``o`` needs a line in ``UNITS`` and its place in a route of
the plan. The rest follows from its members: words bring it what it asks for by name, of
WORD_MEMBERS too; ``position``, ``group`` and ``positions`` are the pass's (see ``control``).
"""

from amaranth.lib.wiring import connect
from celosia.rtl.activation.gate import Gate
from celosia.rtl.activation.paired_gate import PairedGate
from celosia.rtl.activation.soft_cap import SoftCap
from celosia.rtl.attention.head_quantize import HeadQuantize
from celosia.rtl.attention.key_mean import KeyMean
from celosia.rtl.attention.rope import Rope
from celosia.rtl.attention.softmax_block import SoftmaxBlock
from celosia.rtl.attention.steady_rope import SteadyRope
from celosia.rtl.attention.weighted_softmax import WeightedSoftmaxBlock
from celosia.rtl.kv_cache.slots import view_table
from celosia.rtl.machine.step import WORD_MEMBERS, argument_layout
from celosia.rtl.norm.residual import Residual
from celosia.rtl.norm.rms_norm import RmsNorm
from celosia.rtl.norm.stream_norm import StreamNorm
from celosia.rtl.norm.weigh import Weigh
from celosia.rtl.quantize.block_hadamard import BlockHadamard
from celosia.rtl.recurrent.recurrent import Recurrent
from celosia.rtl.stream.pipeline import clamp
from celosia.rtl.token.router import Router

__all__ = ["SINKS", "UNITS", "link", "route_units", "routes_of", "told", "watched"]


def _residual(machine, s, more):
    return Residual(s.lanes, s.dim_words, s.residual_width, s.tokens, machine.program.quiet)


def _norm(machine, s, more):
    gains = machine.gains
    return RmsNorm(s.lanes, s.dim_words, s.residual_width, s.epsilon, gains, s.tokens)


def _weigh(machine, s, more, weights):
    return Weigh(s.lanes, s.dim_words, s.residual_width, weights, s.tokens)


def _recurrent(machine, s, more, most, **settings):
    words = len(most[0]) // s.lanes
    return Recurrent(s.lanes, words, most, s.gate_fraction, tokens=s.tokens, **settings, **more)


def _rope(machine, s, more, increments):
    return SteadyRope(Rope(s.lanes, s.head_words, increments, s.tokens))


def _stream_norm(machine, s, more, gains, **settings):
    words = len(gains[0]) // s.lanes
    return StreamNorm(s.lanes, words, gains=gains, tokens=s.tokens, **settings, **more)


def _hadamard(machine, s, more, size, width):
    return BlockHadamard(s.lanes, size, width, s.tokens)


def _soft_cap(machine, s, more, cap):
    return SoftCap(s.lanes, cap, s.tokens, multiplier_blocks=True, **more)


def _softmax(machine, s, more):
    formats = s.score_fraction, s.score_width
    unit = WeightedSoftmaxBlock if s.value_steps else SoftmaxBlock
    words = s.places.most_reads * s.parts
    return unit(s.lanes, s.tokens, *formats, view_table(s.layer_views)[0], words)


def _head_quantize(machine, s, more, **settings):
    return HeadQuantize(s.lanes, s.head_words, s.tokens, **settings)


def _gate(machine, s, more, gated, **settings):
    if gated and s.gate_lanes:
        return PairedGate(s.lanes, s.gate_fraction, **settings, **more)
    settings["gated"] = gated
    return Gate(s.lanes, s.tokens, s.gate_fraction, **settings, **more)


def _router(machine, s, more, **settings):
    return Router(s.lanes, **settings)


#: Of each kind the component: of a machine, its shape, the members that later units of the route
#: ask of the words, and the settings of the :class:`Unit`.
UNITS = {
    "residual": _residual,
    "norm": _norm,
    "weigh": _weigh,
    "recurrent": _recurrent,
    "stream_norm": _stream_norm,
    "rope": _rope,
    "hadamard": _hadamard,
    "key_mean": lambda machine, s, more, means: KeyMean(s.lanes, means, s.tokens),
    "head_quantize": _head_quantize,
    "soft_cap": _soft_cap,
    "softmax": _softmax,
    "gate": _gate,
    "router": _router,
}


def routes_of(shape, program):
    """The routes that ``program`` takes, in the order of ``shape``.

    Raises
    ------
    ValueError
        If a step names a route that the shape does not have.
    """
    known = [route.name for route in shape.routes]
    for name in program.routes:
        if name not in known:
            raise ValueError(f"a step's route must be one of {', '.join(known)}, not {name!r}")
    return [route for route in shape.routes if route.name in program.routes]


def watched(shape, program):
    """The units in the order of their bits in the machine's ``activity``."""
    units = [unit.name for route in routes_of(shape, program) for unit in route.units]
    return ("collector", *units, "quantizer", "sampler")


def route_units(machine):
    """The units of all routes, by name; a route that joins another brings what that asks for."""
    units, starts = {}, {}
    for route in routes_of(machine.shape, machine.program):
        asked = starts.get(route.sink, {})
        for unit in reversed(route.units):
            build = UNITS[unit.kind]
            component = build(machine, machine.shape, asked, **dict(unit.settings))
            units[unit.name] = component
            members = dict(component.i.p.shape().members)
            asked = {n: members[n] for n in (*WORD_MEMBERS, "value_steps") if n in members}
        if route.units:
            first = dict(units[route.units[0].name].i.p.shape().members)
            starts[route.name] = {n: first[n] for n in WORD_MEMBERS if n in first}
    return units


def told(units, program):
    """The WORD_MEMBERS that any of ``units`` asks for, or biases do.

    Raises
    ------
    ValueError
        If a step says what no unit asks for.
    """
    asked = {name for unit in units for name, _ in unit.i.p.shape()}
    if any(program.bias_words):
        asked |= {"bias", "last_token"}
    for step in program.steps:
        for name in WORD_MEMBERS.keys() - asked - {"normed", "last_token"}:
            if step.get(name):
                raise ValueError(f"step {step.get('name')}: no unit of the machine has a {name}")
    return {name: shape for name, shape in WORD_MEMBERS.items() if name in asked}


def link(m, source, target, **instead):
    """Words of ``source`` to ``target``: its members by name, values saturated to its width.

    ``instead`` gives members that are not the source's.
    """
    m.d.comb += [target.valid.eq(source.valid), source.ready.eq(target.ready)]
    for name, _ in target.p.shape():
        if name == "data":
            width = len(target.p.data[0])
            values = zip(target.p.data, source.p.data, strict=True)
            m.d.comb += [
                a.eq(clamp(x, width) if x.shape().signed and len(x) > width else x)
                for a, x in values
            ]
        else:
            m.d.comb += target.p[name].eq(instead.get(name, source.p[name]))


def _to_activations(m, machine, u, source, route):
    """Through one of the merge's inputs, at the region's place."""
    routes = routes_of(machine.shape, machine.program)
    n = [one for one in routes if one.sink == "activations"].index(route)
    index = (source.p.index + route.base)[: machine.shape.blocks.bit_length()]
    link(m, source, u.merge.i[n], index=index)


def _to_heads(m, machine, u, source, route):
    """Queries into their memory, keys into the cache."""
    head = argument_layout()(source.p.argument).head
    _to_queries(m, machine, u, source, route)
    m.d.comb += u.queries.i.valid.eq(source.valid & ~head.is_key)
    _to_keys(m, machine, u, source, route, head.is_key)


def _to_queries(m, machine, u, source, route):
    """Queries into their memory."""
    link(m, source, u.queries.i)


def _to_keys(m, machine, u, source, route, is_key=1):
    """Keys into the cache."""
    keys = u.cache.keys if machine.shape.cache_width else u.key_cache.i
    layer = argument_layout()(source.p.argument).head.layer
    _to_cache(m, u, source, keys, 0, layer, is_key)


def _to_cache(m, u, source, blocks, port, layer, valid=1):
    """Rounded heads into the cache, whose slots the port of that number tells."""
    m.d.comb += [
        source.ready.eq(1),
        blocks.valid.eq(source.valid & valid),
        blocks.p.layer.eq(layer),
        u.slots.asked[port].layer.eq(layer),
        u.slots.asked[port].token.eq(source.p.token),
        blocks.p.slot.eq(u.slots.slot[port]),
        *(blocks.p[n].eq(source.p[n]) for n in ("data", "head", "word", "step", "last")),
    ]


def _to_values(m, machine, u, source, route):
    """Into the cache: rounded heads, or by ValueWords."""
    layer = argument_layout()(source.p.argument).layer
    if route.units:
        values = u.cache.values if machine.shape.cache_width else u.value_cache.i
        _to_cache(m, u, source, values, 1, layer)
        return
    link(m, source, u.value_words.i)
    m.d.comb += [
        u.slots.asked[1].layer.eq(layer),
        u.slots.asked[1].token.eq(source.p.token),
        u.value_words.slot.eq(u.slots.slot[1]),
    ]


def _to_scores(m, machine, u, source, route):
    """Exponentials into the memory of their buffer."""
    link(m, source, u.scores.i)


def _to_sampler(m, machine, u, source, route):
    """Logits to the next token."""
    link(m, source, u.sampler.i)


def _to_experts(m, machine, u, source, route):
    """Weights to the collector, numbers to the tapes' runs."""
    connect(m, source, u.collect.experts)
    connect(m, u.router.numbers, u.sequencer.numbers)


#: How each route ends.
SINKS = {
    "activations": _to_activations,
    "heads": _to_heads,
    "queries": _to_queries,
    "keys": _to_keys,
    "values": _to_values,
    "scores": _to_scores,
    "experts": _to_experts,
    "sampler": _to_sampler,
}
