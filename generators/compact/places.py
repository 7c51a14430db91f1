"""Where the compact machine's vectors lie: in its wide and half memory, among its activations."""

from celosia.reference.operations import Norm, Rotate

__all__ = ["MINUS", "ONE", "SIXTEEN", "TURNS", "CompactPlaces", "biased", "round_up"]

ONE, MINUS, SIXTEEN = range(3)  # constants in the half memory
TURNS = 4  # behind them the rotation of a position, and a position's sines and cosines


class CompactPlaces:
    """The memories of a machine for a description whose attention sees ``window`` positions.

    Activations and cached bytes are read ``columns`` at a time.

    Members
    -------
    work, query, key, total, root, inverse, state, before, constants : int
        In the wide memory; ``inverse`` in the half memory. The residual stream is at 0.
    sines : int
        In the half memory.
    ones, attention, queries, hidden : int
        Among the activations, in bytes; the normed ones are at 0, softmax's powers at ``work``.
    values : int
        Bytes of a layer's keys, behind which its values lie.
    wide_size, half_size, vector_bytes : int
    """

    def __init__(self, c, description, window, columns=4):
        heads, kv, hidden = (
            c.n_heads * c.head_dim,
            c.n_kv_heads * c.head_dim,
            round_up(c.hidden_dim, columns),
        )
        self.ones = c.dim
        constants = 4 if biased(description) or not description.find(Rotate) else 0
        self.work = round_up(max(c.dim + constants, TURNS + 4 * c.head_dim), columns)
        norms = [op for op in description.find(Norm) if op.input != "x"]
        scratch = max([c.dim] + [description.sizes[op.input] // op.groups for op in norms])
        self.query = self.work + scratch
        self.key = self.query + heads
        self.total = self.work + max(scratch + heads + kv, hidden, window)
        self.root = self.total + 1
        self.inverse = self.state = self.total + 2
        self.before = self.state + c.head_dim
        self.constants = self.before + c.head_dim
        self.sines = TURNS + 2 * c.head_dim
        self.attention = self.work + round_up(window, columns)
        self.queries = self.attention + heads
        self.hidden = self.queries + heads
        self.values = kv * window
        self.wide_size, self.half_size = self.constants + constants, self.inverse + 1
        self.vector_bytes = self.hidden + hidden


def biased(description):
    """Whether there are biases, of matrices or of the norms before them."""
    every = (*(op for layer in description.layers for op in layer), *description.end)
    return any(getattr(op, "bias", None) for op in every)


def round_up(n, unit=4):
    """``n`` in whole words of so many."""
    return -(-n // unit) * unit
