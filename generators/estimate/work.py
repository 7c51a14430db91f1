"""What each operation of a model has to do: multiply-accumulates, and bytes by class."""

from collections import Counter
from dataclasses import dataclass

from celosia.reference.operations import Attention, Experts, Linear
from celosia.reference.operations.linear import LinearPair
from celosia.rtl.mac.group_scales import OFFSET_WIDTH, SCALE_WIDTH

__all__ = ["CLASSES", "Formats", "Work", "work_of"]

CLASSES = ("weights", "scales", "cache", "activations")
ROW_SCALE = 2  # bytes
KEY_STEP = 2


@dataclass(frozen=True)
class Formats:
    """Bits of weights, and of what is beside them; keys, values and activations have 8 bits.

    Parameters
    ----------
    weight_width : int
    head_width : int
        The head's.
    group : int
        Columns that share a scale and, below 8 bits, an offset; 0 for one scale in a row.
    offset_width : int
    """

    weight_width: int = 8
    head_width: int = 8
    group: int = 0
    offset_width: int = OFFSET_WIDTH

    def matrix(self, rows, columns, head=False):
        """Bytes of the weights and of the scales of a matrix."""
        width = self.head_width if head else self.weight_width
        scales = ROW_SCALE * rows
        if self.group:
            bits = SCALE_WIDTH + (self.offset_width if width < 8 else 0)
            scales += rows * -(-columns // self.group) * bits / 8
        return rows * columns * width / 8, scales


@dataclass(frozen=True)
class Work:
    """Of an operation, in all layers that have it.

    Parameters
    ----------
    name : str
    macs : int
    bytes : dict
        By ``CLASSES``: what is read of weights, scales and cache, and the activations read and
        written.
    """

    name: str
    macs: int
    bytes: dict

    @property
    def intensity(self):
        """Multiply-accumulates for each byte."""
        return self.macs / sum(self.bytes.values())


def work_of(description, formats, tokens, start=0, group=1, logits=True):
    """The :class:`Work` of each operation for ``tokens`` from position ``start`` on.

    Parameters
    ----------
    description : Description
    formats : Formats
    tokens, start : int
    group : int
        Tokens that share what is read of weights and cache.
    logits : bool
        Whether the last of the tokens, and only that, has logits.

    Returns
    -------
    list of Work
        In the order of the operations.
    """
    found = {}
    passes = [min(group, tokens - n) for n in range(0, tokens, group)]
    seen = [start + n * group + size for n, size in enumerate(passes)]
    positions = range(start + 1, start + tokens + 1)
    for operations in (*description.layers, description.end if logits else ()):
        for op in operations:
            for name, macs, *sizes in _parts(op, description, formats, passes, seen, positions):
                total = found.setdefault(name, [0, Counter()])
                total[0] += macs
                total[1].update(dict(zip(CLASSES, sizes, strict=True)))
    return [Work(name, macs, dict(sizes)) for name, (macs, sizes) in found.items()]


def _parts(op, description, formats, passes, seen, positions):
    """Of an operation the name, multiply-accumulates and bytes by class of each of its parts."""
    sizes, tokens = description.sizes, len(positions)
    if isinstance(op, Linear | LinearPair):
        outs = (op.out,) if isinstance(op, Linear) else op.outs
        weights = (op.weight,) if isinstance(op, Linear) else op.weights
        rows, columns = sum(sizes[out] for out in outs), sizes[op.input]
        head = op.out == "logits"
        count, times = (1, 1) if head else (tokens, len(passes))
        read, scales = formats.matrix(rows, columns, head)
        activations = count * (rows + columns)
        macs, name = count * rows * columns, "head" if head else "+".join(weights)
        yield name, macs, read * times, scales * times, 0, activations
    elif isinstance(op, Attention):
        width, limit = op.n_heads * op.head_dim, op.window or 1 << 40
        pairs = sum(min(n, limit) for n in positions)
        held = sum(min(n, limit) for n in seen)
        key = op.n_kv_heads * op.head_dim
        scores = op.n_heads * pairs  # a byte each
        yield (
            "scores",
            width * pairs,
            0,
            0,
            held * (key + KEY_STEP * op.n_kv_heads),
            (tokens * width + scores),
        )
        yield "values", width * pairs, 0, 0, held * key, tokens * width + scores
    elif isinstance(op, Experts):
        yield from _experts(op, sizes[op.input], formats, passes, tokens)


def _experts(op, dim, formats, passes, tokens):
    """A router, and its experts: as many as a pass's tokens are expected to choose."""
    read, scales = formats.matrix(op.n, dim, head=True)
    times = len(passes)
    yield op.router, tokens * op.n * dim, read * times, scales * times, 0, tokens * (dim + op.n)
    different = sum(op.n * (1 - (1 - op.k / op.n) ** size) for size in passes)
    chosen = tokens * op.k
    for name, rows, columns in (
        (f"{op.gate}+{op.up}", 2 * op.hidden_dim, dim),
        (op.down, dim, op.hidden_dim),
    ):
        read, scales = formats.matrix(rows, columns)
        macs, activations = chosen * rows * columns, chosen * (rows + columns)
        yield name, macs, read * different, scales * different, 0, activations
