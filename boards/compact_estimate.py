"""What a compact machine takes of a chip with block RAMs of 4 Kbit, before synthesis."""

from celosia.generators.config import COMPACT, Config, ConfigError
from celosia.protocol.messages import PROMPT_TOKENS

__all__ = ["compact_configs", "compact_needs"]

SHAPES = ((256, 16), (512, 8), (1024, 4), (2048, 2))  # of a block RAM: words, bits
SHORTEST = 128  # positions
LOGIC = 4600  # logic cells, measured with stories260K; sizes change little of it
BLOCKS = 8  # multipliers: six of the fabric, two of the vector operations
WORD = 8  # bytes: four rows of four columns of 4 bits


def compact_needs(c, config):
    """``{"lut", "dsp", "bram", "spram"}``; the last in bytes.

    Parameters
    ----------
    c : celosia.reference.model.ModelConfig
    config : celosia.generators.config.Config
    """
    length, window = config.max_seq_len or c.seq_len, config.window
    heads, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    layer = [(heads, c.dim), (kv, c.dim), (kv, c.dim), (c.dim, heads)]
    layer += [(c.hidden_dim, c.dim), (c.hidden_dim, c.dim), (c.dim, c.hidden_dim)]
    matrices = layer * c.n_layers + [(c.vocab_size, c.dim)] * (1 if c.tied else 2)
    words = sum(_up(rows) * _up(columns) // 16 for rows, columns in matrices)
    work = max(c.dim, 4 + 4 * c.head_dim)
    wide = work + max(c.dim + heads + kv, _up(c.hidden_dim), window) + 3 + 2 * c.head_dim
    vectors = work + _up(window) + 2 * heads + _up(c.hidden_dim)
    token = (c.vocab_size - 1).bit_length()
    memories = [
        (sum(rows + 1 for rows, _ in matrices), 4),  # scales and shifts
        ((2 * c.n_layers + 1) * c.dim, 8),  # gains
        (_up(vectors) // 4, 32),
        (c.n_layers * 2 * kv * window // 4, 32),
        (wide, 24),
        (wide - 2 * c.head_dim, 16),
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


def compact_configs(c, wish=None):
    """Configurations of a compact machine for ``c``: the longest window first, then the longest
    sequence; with ``wish`` nothing beyond it."""
    length = (wish and wish.max_seq_len) or c.seq_len
    longest = (wish and wish.window) or 64
    lengths = [length, *(length >> n for n in range(1, 8) if length >> n >= SHORTEST)]
    for window in range(longest, 3, -4):
        for max_seq_len in lengths:
            try:
                yield Config(
                    **COMPACT, machine="compact", window=window, max_seq_len=max_seq_len, name="fit"
                )
            except ConfigError:
                continue


def _up(n):
    return -(-n // 4) * 4


def _blocks(depth, bits):
    """Block RAMs in a memory, in the best of their shapes."""
    return min(-(-depth // words) * -(-bits // width) for words, width in SHAPES)
