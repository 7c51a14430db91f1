"""The ways of result words: what each unit of a route is, and how a route ends in its memory.

A new unit with framed words ``i`` and ``o`` needs a line in ``UNITS`` and its place in a route of
the plan. The rest follows from its members: words bring it what it asks for by name, of
WORD_MEMBERS too; ``position``, ``group`` and ``positions`` are the pass's (see ``control``).
"""

from celosia.rtl.activation.swiglu import SwiGlu
from celosia.rtl.attention.head_quantize import HeadQuantize
from celosia.rtl.attention.rope import Rope
from celosia.rtl.attention.softmax_block import SoftmaxBlock
from celosia.rtl.attention.steady_rope import SteadyRope
from celosia.rtl.machine.step import WORD_MEMBERS, argument_layout
from celosia.rtl.norm.residual import Residual
from celosia.rtl.norm.rms_norm import RmsNorm
from celosia.rtl.stream.pipeline import clamp

__all__ = ["SINKS", "UNITS", "link", "route_units", "routes_of", "told", "watched"]


def _residual(machine, s):
    return Residual(s.lanes, s.dim_words, s.residual_width, s.tokens, machine.program.quiet)


def _norm(machine, s):
    gains = machine.gains
    return RmsNorm(s.lanes, s.dim_words, s.residual_width, s.epsilon, gains, s.tokens)


def _rope(machine, s):
    return SteadyRope(Rope(s.lanes, s.head_words, s.rope_increments, s.tokens))


#: Of each kind the component: of a machine, its shape, and the settings of the :class:`Unit`.
#: Places of further units: a StreamNorm in front of ``residual`` ("post"), ``rope`` ("head"), the
#: attention's or the gate's sink ("inner"); a Gate in place of ``swiglu``; a SoftCap in front of
#: ``softmax`` and of the sampler; a Router with a sink of its own; Bias: see ``results``.
UNITS = {
    "residual": _residual,
    "norm": _norm,
    "rope": _rope,
    "head_quantize": lambda machine, s: HeadQuantize(s.lanes, s.head_words, s.tokens),
    "softmax": lambda machine, s: SoftmaxBlock(s.lanes, s.tokens),
    "swiglu": lambda machine, s: SwiGlu(s.lanes, s.tokens),
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
    """The units of all routes, by name."""
    routes = routes_of(machine.shape, machine.program)
    return {
        unit.name: UNITS[unit.kind](machine, machine.shape, **dict(unit.settings))
        for route in routes
        for unit in route.units
    }


def told(units, program):
    """The WORD_MEMBERS that any of ``units`` asks for.

    Raises
    ------
    ValueError
        If a step says what no unit asks for.
    """
    asked = {name for unit in units for name, _ in unit.i.p.shape()}
    for step in program.steps:
        for name in WORD_MEMBERS.keys() - asked - {"normed"}:
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
    keys = u.cache.keys if machine.shape.cache_width else u.key_cache.i
    head = argument_layout()(source.p.argument).head
    position = u.sequencer.position + source.p.token
    link(m, source, u.queries.i)
    m.d.comb += [
        u.queries.i.valid.eq(source.valid & ~head.is_key),
        keys.valid.eq(source.valid & head.is_key),
        keys.p.layer.eq(head.layer),
        keys.p.position.eq(position),
        *(keys.p[n].eq(source.p[n]) for n in ("data", "head", "word", "step", "last")),
    ]


def _to_values(m, machine, u, source, route):
    """By ValueWords into the cache."""
    link(m, source, u.value_words.i)


def _to_scores(m, machine, u, source, route):
    """Exponentials into the memory of their buffer."""
    link(m, source, u.scores.i)


def _to_sampler(m, machine, u, source, route):
    """Logits to the next token."""
    link(m, source, u.sampler.i)


#: How each route ends.
SINKS = {
    "activations": _to_activations,
    "heads": _to_heads,
    "values": _to_values,
    "scores": _to_scores,
    "sampler": _to_sampler,
}
