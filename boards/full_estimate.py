"""What a full machine takes of a chip with block RAMs of 18 Kbit, and its configurations."""

import itertools
from types import SimpleNamespace

from celosia.generators.config import Config, ConfigError
from celosia.generators.machine_sizes import attention_parts
from celosia.reference.families import describe
from celosia.reference.operations import Attention, Experts, Recur
from celosia.rtl.machine.step import BUFFERS

__all__ = [
    "SHAPES",
    "choices",
    "clock",
    "configs",
    "lengths",
    "needs",
    "settings",
    "smallest",
    "text",
]

SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
SMALLEST = 32  # words of a memory that goes into block RAM
STEP_BITS = 300
SHORTEST = 128  # positions of a shortened cache


def needs(model, config):
    """``{"lut", "dsp", "bram", "sdram"}``, the last in bytes: as a LUT4 of an ECP5 counts."""
    rows, lanes, tokens = config.rows, config.vector_lanes, config.token_parallelism
    cached = config.cached_rows
    length = config.max_seq_len or model.seq_len
    experts = describe(model).find(Experts)
    beats, scale_words = _tape(model, experts, rows, lanes)
    head = _up(model.head_dim, lanes)
    heads = model.n_layers * model.n_kv_heads
    slots = max(length, config.kv_pages * config.kv_page_size)
    several = attention_parts(config, SimpleNamespace(description=describe(model), head_dim=head))
    parts, paths = several["parts"], several["paths"]
    positions = _up(slots, lanes * parts) // lanes
    key_tiles, channel_tiles = _up(slots, cached) // cached, _up(head, cached) // cached
    dim_words = _up(model.dim, lanes) // lanes
    tape = (beats, rows * lanes * config.weight_width, False)
    sdram = 0
    if config.memory == "sdram":
        sdram = beats * rows * lanes * config.weight_width // 8
        tape = (1024, 18, False)  # read ahead
    cache = bool(describe(model).find(Attention))
    memories = [  # (depth, bits, whether bytes are written on their own)
        tape,
        (scale_words, 16 * lanes, False),
        (cache * heads * key_tiles * head // lanes, config.key_width * cached * lanes, True),
        (
            cache * heads * channel_tiles * positions // parts,
            config.value_width * min(cached, head) * lanes * parts,
            True,
        ),
        (cache * heads * positions // paths, 9 * lanes * paths, True),
        ((2 * model.n_layers + 1) * dim_words, 16 * lanes, False),
        *[(cache * BUFFERS * positions, 7 * lanes + 10, False)] * tokens * (parts == 1),
        (length, 52, False),
        (length, 20, False),
        (
            model.n_layers * (7 + 2 * model.n_heads) + sum(2 * op.k - 1 for op in experts) + 1,
            *(STEP_BITS, False),
        ),
        *[(512, 36, False)] * (lanes + 5 - (parts > 1)),  # tables, activations
    ]
    multipliers = (rows if config.packing == "none" else rows // 2) * lanes * tokens
    if config.ternary:
        multipliers = cached * lanes * tokens if cache else 0
    multipliers -= config.lut_multipliers
    lut = 9000 + 4500 * lanes + rows * tokens * (60 * lanes + 320) + 300 * lanes * tokens
    lut += 2200 if config.memory == "sdram" else 0
    lut += (1500 * parts * tokens if parts > 1 else 0) + 1300 * lanes * (paths - 1)
    if config.value_steps == "token":
        memories.append((heads * positions, 7 * lanes, True))
        lut += 1000 * lanes  # a quantiser of heads, and a second table of powers
    for op in experts[:1]:  # the router
        lut += 2000 + 130 * lanes * min(op.k, -(-op.n // lanes))
        multipliers += 1
    return {
        "lut": lut,
        "dsp": multipliers + 7 * lanes,
        "bram": sum(_blocks(*memory) for memory in memories if memory[0] > SMALLEST),
        "sdram": sdram,
    }


def configs(model, board, wish=None):
    """Configurations for ``model`` on ``board``: the widest weights first.

    Of those the most multipliers, then the most positions, then the most lanes; all of them on chip
    before any with the tape in the board's SDRAM. With ``wish`` nothing beyond it.
    """
    wish = wish or Config(weight_parallelism=1024, vector_lanes=32)
    positions = lengths(wish.max_seq_len or model.seq_len)
    widths = range(wish.weight_width, min(wish.weight_width, 4) - 1, -1)
    parallelisms = [1 << n for n in range(10, 2, -1) if 1 << n <= wish.weight_parallelism]
    lanes = [n for n in (32, 16, 8, 4, 2) if n <= wish.vector_lanes]
    largest = max(model.dim, model.hidden_dim, model.vocab_size)
    memories = [name for name in board.memories if name == "sdram" or wish.memory != "sdram"]
    names = ("memory", "weight_width", "weight_parallelism", "max_seq_len", "vector_lanes")
    for values in itertools.product(memories, widths, parallelisms, positions, lanes):
        try:
            config = Config(**dict(zip(names, values, strict=True)), name="fit")
        except ConfigError:
            continue
        if config.rows <= largest:
            yield config


def clock(board, config, c):
    """In MHz: what placements on ``board`` reach, whatever the machine."""
    return board.default_clock


def choices(model, board):
    """The parameters that are open on ``board`` beside those of every machine: none."""
    return {}


def smallest(model, board):
    """The configuration that takes least."""
    length = lengths(model.seq_len)[-1]
    return Config(weight_parallelism=8, vector_lanes=2, weight_width=4, max_seq_len=length)


def settings(config):
    """How the command line says ``config``."""
    names = ("weight_parallelism", "vector_lanes", "weight_width", "max_seq_len")
    if config.memory != "on_chip":
        names += ("memory",)
    return " ".join(f"--set {name}={getattr(config, name)}" for name in names)


def text(config):
    """A configuration in a few words."""
    tape = ", tape in SDRAM" * (config.memory == "sdram")
    return (
        f"{config.weight_parallelism} multipliers of {config.weight_width} bits, "
        f"{config.max_seq_len} positions{tape}"
    )


def lengths(length):
    """The positions that a cache may have, from ``length`` down."""
    return [length, *(length >> n for n in range(1, 8) if length >> n >= SHORTEST)]


def _tape(model, experts, rows, lanes):
    """Beats of the weights, words of their scales; all of the layers' ``experts``."""
    dim, hidden = _up(model.dim, lanes), _up(model.hidden_dim, lanes)
    head = _up(model.head_dim, lanes)
    queries, keys = model.n_heads * head, model.n_kv_heads * head
    layer = [(queries, dim), (keys, dim), (keys, dim), (dim, queries)]
    if describe(model).find(Recur):
        layer = [(dim, dim)] * 4
    matrices = layer * model.n_layers
    matrices += [(2 * hidden, dim), (dim, hidden)] * (model.n_layers - len(experts))
    for op in experts:
        width = _up(op.hidden_dim, lanes)
        matrices += [(op.n, dim), *[(2 * width, dim), (dim, width)] * op.n]
    matrices += [(model.vocab_size, dim)] * (1 if model.tied else 2)
    beats = sum(_up(height, rows) // rows * width // lanes for height, width in matrices)
    scales = sum(_up(height, lanes) // lanes for height, _ in matrices)
    scales += model.n_layers * queries // lanes
    return beats, scales


def _blocks(depth, bits, bytewise):
    """Block RAMs of 18 Kbit in a memory, in the best of their shapes."""
    if bytewise:  # bytes (or 9 bits) written on their own take 9 bits each
        bits = -(-bits // 8) * 9 if bits % 9 else bits
    shapes = [s for s in SHAPES if s[1] >= 9 or not bytewise]
    return min(-(-depth // words) * -(-bits // width) for words, width in shapes)


def _up(n, unit):
    return -(-n // unit) * unit
