"""What a compact machine takes of a chip, and its configurations."""

import contextlib
import functools
import itertools

from celosia.boards.block_ram import Memory, block_rams, chosen_bits
from celosia.boards.full_estimate import lengths
from celosia.generators.compact.places import CompactPlaces, round_up
from celosia.generators.config import Config, ConfigError, load_config
from celosia.generators.estimate.outline import blank_model
from celosia.generators.machine_kinds import MACHINES
from celosia.protocol.messages import PROMPT_TOKENS
from celosia.reference.compact.form import compact_form
from celosia.reference.compact.trits import TRITS
from celosia.reference.families import describe
from celosia.reference.operations import Attention, Linear, Norm
from celosia.rtl.compact.shape import FAR

__all__ = ["choices", "clock", "configs", "needs", "settings", "smallest", "text"]

SMALL_SHAPES = ((256, 16), (512, 8), (1024, 4), (2048, 2))  # of an iCE40's block RAM: words, bits
SMALL_LOGIC = 4600  # logic cells of an iCE40, measured with stories260K; sizes change little of it
SMALL_TERNARY = 450  # more with ternary weights, measured with demo-ternary
TERNARY = 25  # LUTs of a ternary weight in a row without multipliers
SAMPLER = 1400  # LUTs of the sampler
SMALL_BLOCKS = 8  # multipliers of an iCE40: six of the fabric, two of the vector operations
CLOCK = 36.0  # MHz, where a board's ``compact_clock`` says nothing else, or a tape is large
BLOCK_WORDS = 2048  # of a block RAM of the tape
TOKEN = 20  # bits of one on the line
WINDOWS = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128, 96, *range(64, 3, -4))
LEAST_WINDOW = {8: 64, 4: 4}  # by the weights' width: a longer window is worth more than 8 bits
FIXED = ("boot", "weight_parallelism", "vector_lanes", "weight_width")  # by an iCE40's memory
GREEDY = {"sampling": "greedy"}  # until a run's temperature is asked for
FABRICS = ((64, 8), (64, 4), (32, 4), (16, 4))  # weights of a beat, columns of them
TERNARY_FABRICS = {"image": (4, (16, 4)), "flash": (8, (8, 4))}  # 40 ternary weights; their bits


def needs(c, config):
    """``{"lut", "dsp", "bram", "spram"}``; the last in bytes.

    Parameters
    ----------
    c : celosia.reference.model.ModelConfig
    config : celosia.generators.config.Config
    """
    rows, columns = config.rows, config.vector_lanes
    spram, length, d = config.boot == "flash", config.max_seq_len or c.seq_len, describe(c)
    places = CompactPlaces(c, d, config.window, columns)
    matrices = list(_matrices(d, length, rows * columns))
    words = _words(matrices, config)
    bits = config.weight_parallelism * config.weight_width
    token = (c.vocab_size - 1).bit_length()
    cache = 2 * places.values // columns
    table = functools.partial(Memory, table=True)
    memories = [
        table(sum(height + 1 for height, *_ in matrices), 4),  # scales and shifts
        table(sum(d.sizes[op.input] for op in d.find(Norm)), 8),  # gains
        Memory(round_up(places.vector_bytes, columns) // columns, 8 * columns, 8),
        Memory(c.n_layers * cache, 8 * columns, 8),
        Memory(places.wide_size, 24),
        Memory(places.half_size, 16),
        table(max(256, 48 + 8 * c.n_heads + 6 * c.n_kv_heads), _instruction(c, places, cache)),
        table(512, 8),
        table(256, 15),
        Memory(length, token),
        Memory(PROMPT_TOKENS + 1, token if spram else TOKEN),
    ]
    sampler = SAMPLER * config.samples
    if config.samples:
        memories.append(table(1024, 16))
    if spram:
        logic = SMALL_LOGIC + SMALL_TERNARY * config.ternary
        found = {"lut": logic + sampler, "dsp": SMALL_BLOCKS, "spram": words * bits // 8}
        return found | {"bram": sum(map(_small_blocks, memories))}
    memories.append(table(words, bits))
    return {
        "lut": _luts(config, memories) + sampler,
        "dsp": config.weight_parallelism * config.weight_width // 8 + 2,
        "bram": sum(map(block_rams, memories)),
    }


def _luts(config, memories):
    """As a LUT4 of an ECP5 counts, fitted to the table of docs/compact_machine.md.

    Weights of 8 bits take no more than of 4: the products of those are taken apart.
    """
    chosen = sum(map(chosen_bits, memories))  # among banks of block RAMs
    added = TERNARY * (_tile(config) - config.rows) * config.vector_lanes
    found = 2572 + 25 * config.rows + 39.1 * config.weight_parallelism + added
    return round(found + 0.94 * chosen)


def _instruction(c, places, cache):
    """The most bits of an instruction."""
    numbers = (
        max(c.vocab_size, c.hidden_dim, 2 * c.head_dim, places.work),
        max(places.wide_size, cache),
        places.half_size,
        max(places.wide_size, places.vector_bytes, 4 * cache),
        places.vector_bytes // 4,
    )
    return 6 + sum(number.bit_length() for number in numbers) + 5


def _matrices(d, length, least):
    """Rows and columns of tables and matrices, and whether these are layers'; of biases more."""
    embed, centred = d.begin[0], any(op.centred for op in d.find(Norm))
    tables = {op.weight for op in d.end if isinstance(op, Linear)}
    size = d.sizes[embed.out]
    if centred or embed.table not in tables:  # a tied head parts from a centred embedding
        yield d.sizes["logits"], size, False
    if embed.positions:
        yield length, size, False
    norms = {op.out: op.bias for op in d.find(Norm)}
    for op in d.find(Linear):
        rows, columns, layer = d.sizes[op.out], d.sizes[op.input], op.out != "logits"
        if op.add and op.bias:
            yield rows, least, layer
        elif op.bias or norms.get(op.input):
            columns += 4
        yield rows, columns, layer


def configs(c, board, wish=None):
    """Configurations for ``c`` on ``board``: the widest weights first, then the most of them.

    Of those the longest window, then the longest sequence. With ``wish`` nothing beyond it. A model
    whose layers are ternary has these as they are.
    """
    try:
        compact_form(blank_model(c), 4)
    except ValueError:
        return
    form = wish.weight_format if wish else _format(c)
    forms = itertools.product((8, 4), FABRICS)
    if form == "trits":
        forms = [TERNARY_FABRICS[_values(board)["boot"]]]
    for width, (parallelism, lanes) in forms:
        values = {"weight_width": width, "weight_parallelism": parallelism, "vector_lanes": lanes}
        values["weight_format"] = form
        most = TRITS * parallelism * width // 8 if form == "trits" else parallelism
        if _fill(c, most, lanes) and (wish is None or _within(values, wish)):
            for memory in _memories(c, width, wish):
                with contextlib.suppress(ConfigError):
                    yield Config(**_values(board) | values | memory)


def _fill(c, most, lanes):
    """Whether vectors of ``c`` fill the fabric, of ``most`` weights in a beat."""
    least = min(c.dim, c.hidden_dim, c.n_heads * c.head_dim)
    return least >= most and not (c.dim % lanes or c.head_dim % lanes)


def _within(values, wish):
    numbers = ((n, value) for n, value in values.items() if n != "weight_format")
    return all(value <= getattr(wish, name) for name, value in numbers)


def _format(c):
    """Of the layers' weights."""
    return "trits" if c.options.get("ternary") else "integer"


def _memories(c, width, wish):
    """Windows and positions, the longest first; no window is longer than the model's own."""
    own = [op.window // 4 * 4 for op in describe(c).find(Attention) if op.window]
    least = min(LEAST_WINDOW[width], round_up(c.seq_len), *own)
    most = min([wish.window if wish else WINDOWS[0], *own])
    for window in (n for n in WINDOWS if least <= n <= most):
        for length in lengths((wish and wish.max_seq_len) or c.seq_len):
            if window <= round_up(length):
                yield {"window": window, "max_seq_len": length}


def choices(c, board):
    """The parameters that are open on ``board``, beside its positions, and their values."""
    fixed = (*(("boot",) if _values(board)["boot"] == "image" else FIXED), *GREEDY, "weight_format")
    found = {name: v for name, v in MACHINES["compact"].open.items() if name not in fixed}
    return found | {"window": range(4, min(WINDOWS[0], round_up(c.seq_len)) + 1, 4)}


def _values(board):
    """What the machine fixes, and the board; the memory of the tape is one or the other."""
    boot = {"boot": "flash" if "spram" in board.resources else "image"}
    return MACHINES["compact"].closed | boot | GREEDY | {"machine": "compact", "name": "fit"}


@functools.cache
def _usual():
    return load_config("compact")


def smallest(c, board):
    """The configuration that takes least of ``board``."""
    values = {"window": 4, "max_seq_len": lengths(c.seq_len)[-1]}
    width, (parallelism, lanes) = 4, FABRICS[-1]
    if _format(c) == "trits":
        width, (parallelism, lanes) = TERNARY_FABRICS[_values(board)["boot"]]
    values |= {"weight_parallelism": parallelism, "vector_lanes": lanes, "weight_width": width}
    values["weight_format"] = _format(c)
    return Config(**_values(board) | values)


def settings(config):
    """How the command line says ``config``."""
    names = (*FIXED, *GREEDY, "weight_format")
    said = [name for name in names if getattr(config, name) != getattr(_usual(), name)]
    words = (f"--set {n}={getattr(config, n)}" for n in (*said, "window", "max_seq_len"))
    return f"--config compact {' '.join(words)}"


def text(config):
    """A configuration in a few words."""
    weights = f"{config.weight_parallelism} weights of {config.weight_width} bits"
    if config.ternary:
        weights = f"{_tile(config) * config.vector_lanes} ternary weights or {weights}"
    return f"compact, {weights}, window of {config.window}, {config.max_seq_len} positions"


def clock(board, config, c):
    """In MHz: what placements on ``board`` reach, of a model ``c`` whose tape is not too large."""
    width, usual = config.weight_parallelism * config.weight_width, board.default_clock
    matrices = _matrices(describe(c), config.max_seq_len or c.seq_len, config.weight_parallelism)
    large = width * _words(matrices, config) > FAR
    return min(usual, CLOCK if large else getattr(board, "compact_clock", CLOCK))


def _words(matrices, config):
    """Words of a tape."""
    columns, rows = config.vector_lanes, (config.rows, _tile(config))
    return sum(-(-height // rows[of]) * -(-width // columns) for height, width, of in matrices)


def _tile(config):
    """Rows of a layer's tile."""
    octets = config.weight_parallelism * config.weight_width // 8
    return TRITS * octets // config.vector_lanes if config.ternary else config.rows


def _small_blocks(memory):
    """Blocks of an iCE40 in a memory: slices in the best of their shapes, the rest in others."""
    depth, bits = memory[:2]
    found = [-(-depth // words) * -(-bits // width) for words, width in SMALL_SHAPES]
    for words, width in SMALL_SHAPES:
        if bits % width and width < bits:
            rest = _small_blocks(Memory(depth, bits % width))
            found.append(-(-depth // words) * (bits // width) + rest)
    return min(found)
