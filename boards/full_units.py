"""The memories and the multipliers of a full machine's units, from its sizes and its program."""

import functools
import operator

from amaranth.utils import ceil_log2
from celosia.boards.block_ram import Memory
from celosia.protocol.messages import PROMPT_TOKENS
from celosia.reference.units.bias import BIAS_WIDTH
from celosia.rtl.attention.weighted_softmax import STEP_WIDTH, total_width
from celosia.rtl.host.host_answers import result
from celosia.rtl.host.host_memory import WORDS
from celosia.rtl.machine.routes import told
from celosia.rtl.machine.step import BUFFERS, step_layout
from celosia.rtl.memory.tape import SLICE

__all__ = ["memories", "multipliers", "tape"]

TOKEN = 20  # bits of one
ROOTS, RECIPROCALS = Memory(256, 27, table=True), Memory(128, 27, table=True)
CURVE = Memory(512, 28, table=True)  # of a lane's activation
EXPONENTIALS = Memory(1024, 16, table=True, reads=2)  # of the sampler, for two lanes
READ_AHEAD = 1023, 511  # words of an SDRAM, transfers of an AXI port


def multipliers(shape, units):
    """Multiplier blocks by the name of the unit.

    Parameters
    ----------
    shape : MachineShape
    units : dict
        By their names the :class:`Unit` of each on a route, and its component.
    """
    rows = shape.rows if shape.packing == "none" else shape.rows // 2
    products = shape.lanes * (shape.cached_rows if shape.ternary else rows)
    if shape.groups:
        products += shape.rows * (1 + shape.groups.offsets)
    beside = shape.lanes * (shape.paths - 1)
    found = {
        "fabric": products * shape.tokens - beside - shape.lut_multipliers,
        "scale": 2 * shape.lanes + beside,
    }
    for name, (asked, unit) in units.items():
        if asked.kind == "gate":
            found[name] = (unit.gated + (unit.activation != "relu")) * unit.at_once
        else:
            lanes = 1 if asked.kind == "router" else shape.lanes
            found[name] = _EACH_LANE.get(asked.kind, 0) * lanes
    return found


#: Multiplier blocks of a lane, by the kind of the unit.
_EACH_LANE = {
    "router": 1,
    "norm": 1,
    "soft_cap": 1,
    "weigh": 2,
    "stream_norm": 2,
    "rope": 2,
    "recurrent": 2,
}


def memories(sketch, units):
    """Every :class:`Memory` that may be in block RAM.

    Parameters
    ----------
    sketch : Sketch
    units : dict
        As for :func:`multipliers`.
    """
    s, words = sketch.shape, sketch.words
    yield Memory(PROMPT_TOKENS + 1, TOKEN)
    yield Memory(s.max_seq_len, TOKEN)
    yield Memory(s.max_seq_len - 1, result.size)  # waiting for the line
    yield from _program(sketch.program, [unit for _, unit in units.values()])
    yield from tape(sketch)
    yield from _slices(words["scales"], 16 * s.lanes)
    yield from _slices(words["biases"], BIAS_WIDTH * s.lanes)
    yield Memory(s.dim_words << ceil_log2(s.tokens), s.residual_width * s.lanes)
    yield from [EXPONENTIALS] * -(-(s.sampler_lanes or s.lanes) // 2)
    if s.parts == 1:  # else in LUTs
        yield from [Memory(s.blocks, s.activation_width * s.lanes + 4)] * s.tokens
    if sketch.program.attends:
        yield from _attention(s)
    for asked, unit in units.values():
        if asked.kind in _OF_KIND:
            yield from _OF_KIND[asked.kind](unit, sketch, dict(asked.settings))


def _program(program, units):
    """The steps: bits that are the same in all of them are not stored."""
    layout = step_layout(len(program.routes), told(units, program))
    routes = {name: n for n, name in enumerate(program.routes)}
    changing = 0
    for name, field in layout:
        told_of = {repr(step.get(name, 0)): step.get(name, 0) for step in program.steps}
        numbers = [
            _number(routes[value] if name == "route" else value, field.shape)
            for value in told_of.values()
        ]
        same = functools.reduce(operator.and_, numbers)
        changing |= (functools.reduce(operator.or_, numbers) & ~same) << field.offset
    for low in range(0, layout.size, SLICE):
        width = (changing >> low & (1 << SLICE) - 1).bit_count()
        yield from _slices(len(program.steps), width)


def _number(value, shape):
    """A member of a step as its bits."""
    if isinstance(value, dict):
        return sum(x << shape[name].offset for name, x in value.items())
    return getattr(value, "value", value)


def tape(sketch):
    """Those of the tape of weights."""
    s, config = sketch.shape, sketch.config
    if config.memory == "sdram":
        yield from (Memory(READ_AHEAD[0], 16), Memory(WORDS, 16, 8))
    elif config.memory == "axi":
        yield from [Memory(READ_AHEAD[1], config.axi_width)] * config.axi_ports
    else:
        yield from _slices(sketch.words["weights"], s.word_width)
    if s.groups:
        yield Memory(2 * s.groups.longest + 1, s.rows * s.lanes * s.weight_width + 1)
    if s.trits:
        yield from [Memory(256, 10, table=True, reads=2)] * -(-s.word_width // 16)


def _slices(words, width):
    """A tape's memories."""
    for low in range(0, width if words else 0, SLICE):
        yield Memory(words, min(SLICE, width - low), table=True)


def _attention(s):
    places, values = s.places, s.head_words * s.lanes
    yield RECIPROCALS
    yield from [Memory(s.n_heads * s.head_words, 8 * s.lanes)] * s.tokens
    if s.parts == 1:
        exponent = s.score_width - s.score_fraction + 2
        total = total_width(s.lanes) if s.value_steps else 0
        width = 7 * s.lanes + exponent + total
        yield from [Memory(BUFFERS * places.most_reads, width)] * s.tokens
    if s.cache_width:
        return
    for words, rows, width in (
        (places.key_words, places.rows, places.key_width),
        (places.value_words, min(places.rows, values) * s.parts, places.value_width),
    ):
        yield Memory(words, rows * s.lanes * width, width)
    yield Memory(places.step_blocks[-1], 9 * s.lanes * s.paths, 9)
    if s.value_steps:
        yield Memory(places.step_blocks[-1], STEP_WIDTH * s.lanes, STEP_WIDTH)


def _gains(vectors, words, width):
    """A table of a norm's ``vectors``, each of so many words, with the fewest holes."""
    depths = vectors << ceil_log2(words), words << ceil_log2(vectors)
    return Memory(min(depths), width, table=True)


def _norm(unit, sketch, settings):
    s = sketch.shape
    return ROOTS, _gains(sketch.words["gains"], s.dim_words, 16 * s.lanes)


def _weigh(unit, sketch, settings):
    return (_gains(sketch.words["gains"], sketch.shape.dim_words, 16 * sketch.shape.lanes),)


def _stream_norm(unit, sketch, settings):
    limited = unit.offsets is not None or unit.limit is not None
    depth = unit.words * unit.tokens + unit.latency - 8 - limited  # of the queue
    sets = len(unit.gains)
    yield from (ROOTS, Memory(depth - 1, unit.i.p.shape().size + 2))
    yield _gains(sets, unit.words, 16 * unit.lanes)
    if unit.offsets is not None:
        yield _gains(sets, unit.words, unit.o_width * unit.lanes)


def _rope(unit, sketch, settings):
    s, sets = sketch.shape, len(settings["increments"])
    turned = s.head_words * s.lanes // 2 * sets
    yield Memory(256, 23, table=True)  # the sine
    yield Memory(1 << ceil_log2(max(2, turned)), 32, table=True)
    yield Memory(s.head_words * sets << ceil_log2(s.tokens), 16 * s.lanes)


def _key_mean(unit, sketch, settings):
    words = len(unit.means[0]) // unit.lanes
    return (_gains(len(unit.means), words, 8 * unit.lanes),)


def _gate(unit, sketch, settings):
    return [CURVE] * unit.at_once if unit.activation not in ("relu", "relu2") else ()


def _recurrent(unit, sketch, settings):
    lanes, words = unit.lanes, unit.words
    yield _gains(len(unit.most), words, 18 * lanes)
    yield from (Memory(len(unit.most) << ceil_log2(words), 18 * lanes), Memory(words, 17 * lanes))
    yield from [CURVE] * lanes


_OF_KIND = {
    "norm": _norm,
    "weigh": _weigh,
    "stream_norm": _stream_norm,
    "rope": _rope,
    "key_mean": _key_mean,
    "head_quantize": lambda unit, *_: (Memory(259, 27, table=True),),
    "soft_cap": lambda unit, *_: [CURVE] * unit.lanes,
    "gate": _gate,
    "recurrent": _recurrent,
    "router": lambda unit, *_: (RECIPROCALS, RECIPROCALS),
}
