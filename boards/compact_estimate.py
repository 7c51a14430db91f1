"""What a compact machine takes of a chip with block RAMs of 4 Kbit, and its configurations."""

from celosia.boards.full_estimate import lengths
from celosia.generators.compact.places import LEAST_BEATS, CompactPlaces, round_up
from celosia.generators.config import Config, ConfigError
from celosia.generators.machine_kinds import MACHINES
from celosia.protocol.messages import PROMPT_TOKENS
from celosia.reference.families import describe
from celosia.reference.operations import Attention, Linear, Norm

__all__ = ["configs", "needs", "settings", "smallest", "text"]

SHAPES = ((256, 16), (512, 8), (1024, 4), (2048, 2))  # of a block RAM: words, bits
LOGIC = 4600  # logic cells, measured with stories260K; sizes change little of it
BLOCKS = 8  # multipliers: six of the fabric, two of the vector operations
WORD = 8  # bytes: four rows of four columns of 4 bits


def needs(c, config):
    """``{"lut", "dsp", "bram", "spram"}``; the last in bytes.

    Parameters
    ----------
    c : celosia.reference.model.ModelConfig
    config : celosia.generators.config.Config
    """
    length, d = config.max_seq_len or c.seq_len, describe(c)
    places = CompactPlaces(c, d, config.window)
    matrices = list(_matrices(d, length))
    words = sum(round_up(rows) * round_up(columns) // 16 for rows, columns in matrices)
    token = (c.vocab_size - 1).bit_length()
    memories = [
        (sum(rows + 1 for rows, _ in matrices), 4),  # scales and shifts
        (sum(d.sizes[op.input] for op in d.find(Norm)), 8),  # gains
        (round_up(places.vector_bytes) // 4, 32),
        (2 * c.n_layers * places.values // 4, 32),
        (places.wide_size, 24),
        (places.half_size, 16),
        (256, 64),  # the program
        (512, 8),
        (256, 15),
        (length, token),
        (PROMPT_TOKENS + 1, token),
    ]
    return {
        "lut": LOGIC,
        "dsp": BLOCKS,
        "bram": sum(_blocks(*memory) for memory in memories),
        "spram": WORD * words,
    }


def _matrices(d, length):
    """Rows and columns of all tables and matrices; a bias is columns more, or one of its own."""
    embed, centred = d.begin[0], any(op.centred for op in d.find(Norm))
    tables = {op.weight for op in d.end if isinstance(op, Linear)}
    size = d.sizes[embed.out]
    if centred or embed.table not in tables:  # a tied head parts from a centred embedding
        yield d.sizes["logits"], size
    if embed.positions:
        yield length, size
    norms = {op.out: op.bias for op in d.find(Norm)}
    for op in d.find(Linear):
        rows, columns = d.sizes[op.out], d.sizes[op.input]
        if op.add and op.bias:
            yield rows, 4 * LEAST_BEATS
        elif op.bias or norms.get(op.input):
            columns += 4
        yield rows, columns


def configs(c, board, wish=None):
    """Configurations for ``c``: the longest window first, then the longest sequence.

    With ``wish`` nothing beyond it; no window is longer than the model's own.
    """
    fixed, longest = MACHINES["compact"].fixed, (wish and wish.window) or 64
    own = [op.window for op in describe(c).find(Attention) if op.window]
    for window in range(min([longest, *own]) // 4 * 4, 3, -4):
        for length in lengths((wish and wish.max_seq_len) or c.seq_len):
            try:
                values = fixed | {"window": window, "max_seq_len": length}
                yield Config(**values, machine="compact", name="fit")
            except ConfigError:
                continue


def smallest(c):
    """The configuration that takes least."""
    return list(configs(c, None))[-1]


def settings(config):
    """How the command line says ``config``."""
    return f"--config compact --set window={config.window} --set max_seq_len={config.max_seq_len}"


def text(config):
    """A configuration in a few words."""
    return f"compact, window of {config.window}, {config.max_seq_len} positions"


def _blocks(depth, bits):
    """Block RAMs in a memory, in the best of their shapes."""
    return min(-(-depth // words) * -(-bits // width) for words, width in SHAPES)
