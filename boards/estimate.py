"""What a machine takes of a chip, before synthesis."""

import itertools
from dataclasses import dataclass

from celosia.boards.catalog import BoardError
from celosia.boards.compact_estimate import compact_configs, compact_needs
from celosia.generators.config import Config, ConfigError
from celosia.reference.families import describe
from celosia.reference.operations import Experts
from celosia.rtl.machine.step import BUFFERS

__all__ = ["Estimate", "check_fit", "estimate", "fitting_config", "smallest_config"]

SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
SMALLEST = 32  # words of a memory that goes into block RAM
STEP_BITS = 300
SHORTEST = 128  # positions of a shortened cache
NAMES = {
    "dsp": "multiplier blocks",
    "bram": "block RAMs",
    "lut": "LUTs",
    "sdram": "bytes of SDRAM",
    "spram": "bytes of single-port RAM",
}


@dataclass(frozen=True)
class Estimate:
    """Resources: ``dsp`` exact, ``bram`` within a few blocks, ``lut`` within a fifth.

    Parameters
    ----------
    lut, dsp, bram : int
    sdram, spram : int
        Bytes of a tape that lies there.
    """

    lut: int
    dsp: int
    bram: int
    sdram: int = 0
    spram: int = 0

    def missing(self, available):
        """``{"bram": (needed, available), ...}`` of what ``available`` does not have."""
        needs = {name: getattr(self, name) for name in NAMES}
        return {n: (x, available.get(n, 0)) for n, x in needs.items() if x > available.get(n, 0)}


def estimate(model, config, lut_share=1.0):
    """The resources of a machine.

    Parameters
    ----------
    model : celosia.reference.model.ModelConfig
    config : celosia.generators.config.Config
    lut_share : float
        LUTs of the chip that do what one LUT4 of an ECP5 does.
    """
    if config.machine == "compact":
        return Estimate(**compact_needs(model, config))
    rows, lanes, tokens = config.rows, config.vector_lanes, config.token_parallelism
    length = config.max_seq_len or model.seq_len
    experts = describe(model).find(Experts)
    beats, scale_words = _tape(model, experts, rows, lanes)
    head = _up(model.head_dim, lanes)
    heads = model.n_layers * model.n_kv_heads
    slots = max(length, config.kv_pages * config.kv_page_size)
    positions = _up(slots, lanes) // lanes
    key_tiles, channel_tiles = _up(slots, rows) // rows, _up(head, rows) // rows
    dim_words = _up(model.dim, lanes) // lanes
    tape = (beats, rows * lanes * config.weight_width, False)
    sdram = 0
    if config.memory == "sdram":
        sdram = beats * rows * lanes * config.weight_width // 8
        tape = (1024, 18, False)  # read ahead
    memories = [  # (depth, bits, whether bytes are written on their own)
        tape,
        (scale_words, 16 * lanes, False),
        (heads * key_tiles * head // lanes, 8 * rows * lanes, True),
        (heads * channel_tiles * positions, 8 * min(rows, head) * lanes, True),
        (heads * positions, 9 * lanes, True),
        ((2 * model.n_layers + 1) * dim_words, 16 * lanes, False),
        *[(BUFFERS * positions, 7 * lanes + 10, False)] * tokens,
        (length, 52, False),
        (length, 20, False),
        (
            model.n_layers * (7 + 2 * model.n_heads) + sum(2 * op.k - 1 for op in experts) + 1,
            *(STEP_BITS, False),
        ),
        *[(512, 36, False)] * (lanes + 5),  # tables
    ]
    multipliers = rows * lanes * tokens
    lut = 9000 + 4500 * lanes + rows * tokens * (60 * lanes + 320) + 300 * lanes * tokens
    lut += 2200 if config.memory == "sdram" else 0
    for op in experts[:1]:  # the router
        lut += 2000 + 130 * lanes * min(op.k, -(-op.n // lanes))
        multipliers += 1
    return Estimate(
        lut=round(lut * lut_share),
        dsp=multipliers + 7 * lanes,
        bram=sum(_blocks(*memory) for memory in memories if memory[0] > SMALLEST),
        sdram=sdram,
    )


def check_fit(model, config, board):
    """The estimate of ``config``, if ``board`` has all of that.

    Raises
    ------
    BoardError
        Otherwise: what is needed, what there is, and the nearest configuration that fits.
    """
    if config.memory not in board.memories:
        raise BoardError(
            f"{board.name} has no {config.memory.upper()} memory: "
            f"memory must be {' or '.join(board.memories)}"
        )
    if config.kv_memory == "axi" or config.control == "axi_lite":
        raise BoardError(
            f"{board.name} has no AXI bus: kv_memory must be on_chip and control stream"
        )
    kind = _machine(board)
    if config.machine != kind:
        raise BoardError(f"{board.name} is for the {kind} machine: machine must be {kind}")
    found = estimate(model, config, board.flow.lut_share)
    missing = found.missing(board.resources)
    if not missing:
        return found
    parts = [f"{NAMES[n]}: {a:,} needed, {b:,} available" for n, (a, b) in missing.items()]
    text = f"{model_text(config)} does not fit {board.name}: {'; '.join(parts)}. "
    try:
        nearest = fitting_config(model, board, config)
        raise BoardError(f"{text}The nearest configuration that fits: {_settings(nearest)}")
    except LookupError:
        raise BoardError(f"{text}No configuration of this model fits {board.name}") from None


def model_text(config):
    """A configuration in a few words."""
    return f"the machine of {config.weight_parallelism} weights a cycle"


def fitting_config(model, board, wish=None):
    """The configuration that fits and exceeds nothing that ``wish`` asks for.

    On chip if any fits there, else with the tape in the board's SDRAM. The one with the widest
    weights; of those that with the most multipliers, then the most positions, then the most lanes.

    Raises
    ------
    LookupError
        If none fits.
    """
    if _machine(board) == "compact":
        for config in compact_configs(model, wish):
            if not estimate(model, config).missing(board.resources):
                return config
        raise LookupError("no configuration fits")
    wish = wish or Config(weight_parallelism=1024, vector_lanes=32)
    lengths = _lengths(wish.max_seq_len or model.seq_len)
    widths = range(wish.weight_width, min(wish.weight_width, 4) - 1, -1)
    parallelisms = [1 << n for n in range(10, 2, -1) if 1 << n <= wish.weight_parallelism]
    lanes = [n for n in (32, 16, 8, 4, 2) if n <= wish.vector_lanes]
    largest = max(model.dim, model.hidden_dim, model.vocab_size)
    memories = [name for name in board.memories if name == "sdram" or wish.memory != "sdram"]
    names = ("memory", "weight_width", "weight_parallelism", "max_seq_len", "vector_lanes")
    for values in itertools.product(memories, widths, parallelisms, lengths, lanes):
        try:
            config = Config(**dict(zip(names, values, strict=True)), name="fit")
        except ConfigError:
            continue
        if config.rows > largest:
            continue
        if not estimate(model, config, board.flow.lut_share).missing(board.resources):
            return config
    raise LookupError("no configuration fits")


def smallest_config(model, board):
    """The configuration that takes least of ``board``: if that one does not fit, none does."""
    if _machine(board) == "compact":
        return list(compact_configs(model))[-1]
    length = _lengths(model.seq_len)[-1]
    return Config(weight_parallelism=8, vector_lanes=2, weight_width=4, max_seq_len=length)


def _lengths(length):
    """The positions that a cache may have, from ``length`` down."""
    return [length, *(length >> n for n in range(1, 8) if length >> n >= SHORTEST)]


def _machine(board):
    """The kind of machine that ``board`` is for."""
    return getattr(board, "machine", "full")


def _settings(config):
    if config.machine == "compact":
        return (
            f"--config compact --set window={config.window} --set max_seq_len={config.max_seq_len}"
        )
    names = ("weight_parallelism", "vector_lanes", "weight_width", "max_seq_len")
    if config.memory != "on_chip":
        names += ("memory",)
    return " ".join(f"--set {name}={getattr(config, name)}" for name in names)


def _tape(model, experts, rows, lanes):
    """Beats of the weights, words of their scales; all of the layers' ``experts``."""
    dim, hidden = _up(model.dim, lanes), _up(model.hidden_dim, lanes)
    head = _up(model.head_dim, lanes)
    queries, keys = model.n_heads * head, model.n_kv_heads * head
    layer = [(queries, dim), (keys, dim), (keys, dim), (dim, queries)]
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
