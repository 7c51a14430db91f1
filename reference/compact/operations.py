"""What the compact machine's operations compute: one multiplication, shift and limit at a time.

Each has ``run(p)``, on the vectors of a :class:`celosia.reference.compact.arithmetic.Pass`.
"""

from dataclasses import dataclass

import numpy as np
from celosia.reference.arithmetic import bit_length, round_shift, saturate
from celosia.reference.compact.matrix import CONSTANTS, CompactMatrix
from celosia.reference.compact.tables import (
    GATE_SHIFTS,
    exp_table,
    gate_table,
    root_table,
    rotations,
    scale_values,
)
from celosia.reference.operations import Attention, Gate

__all__ = [
    "BYTE",
    "DOWN_SHIFT",
    "EXTRA",
    "GATE_FRACTION",
    "HALF",
    "ONES",
    "ROPE_SHIFT",
    "SIGMOID_FRACTION",
    "WIDE",
    "CompactAttention",
    "CompactEmbed",
    "CompactGate",
    "CompactLinear",
    "CompactNorm",
    "CompactRotate",
    "compute",
]

WIDE, HALF, BYTE = 24, 16, 8  # bits that a result is limited to
ROPE_SHIFT = 14  # of sines and cosines
EXTRA = 6  # bits that queries and keys have before their rotation beyond those after it
DOWN_SHIFT = 9  # of a matrix that reads what a gate made
GATE_FRACTION = 11  # the most of a gate's bits behind the point, of 16
SIGMOID_FRACTION = 4  # of the argument of a gate's table, which has steps of 1/16
ONES = "1"  # the name of the vector of CONSTANTS


def compute(product, shift, width=WIDE, add=0):
    """``round(product / 2**shift)`` limited to ``-2**23 ... 2**23``, plus ``add``, saturated."""
    rounded = np.clip(round_shift(product, shift), -(1 << 23), 1 << 23)
    return saturate(rounded + add, width)


@dataclass(eq=False)
class CompactEmbed:
    """``out`` is the token's row of a table; with ``positions`` the position's row is added."""

    out: str
    name: str
    matrix: CompactMatrix
    shift: int
    positions: bool = False

    def run(self, p):
        rows = p.positions if self.positions else p.tokens
        codes, scales = self.matrix.codes[rows], scale_values()[self.matrix.scale[rows]]
        add = p.read(self.out) if self.positions else 0
        product = (codes.astype(np.int64) << 12) * scales[:, None]
        p.write(self.out, compute(product, self.shift, add=add))


@dataclass(eq=False)
class CompactNorm:
    """Parts of ``input`` over the roots of their mean squares, times gains.

    Parameters
    ----------
    input, out : str
    gains : int8[parts, size of a part]
    square_shift, shift : int
        Of the sum of squares; of the product with its root.
    width : int
        Of the result: 8 bits for matrices, 24 where it stays with the wide vectors.
    """

    input: str
    out: str
    gains: np.ndarray
    square_shift: int
    shift: int
    width: int

    def run(self, p):
        x = p.read(self.input)
        parts = x.reshape(len(x), *self.gains.shape)
        parts = compute(parts, excess(parts, 15), HALF)
        total = compute((parts * parts).sum(axis=-1, keepdims=True), self.square_shift)
        root, exponent = _root(total)
        y = compute(compute(parts * self.gains, 0) * root, self.shift + exponent // 2, self.width)
        p.write(self.out, y.reshape(x.shape))


@dataclass(eq=False)
class CompactLinear:
    """``matrix @ input``, or that added to ``out``.

    A matrix that has four columns more than its input multiplies these by ``CONSTANTS``: they are
    a bias. That of a matrix that is added is a matrix of its own, with ``CONSTANTS`` as its input.

    Parameters
    ----------
    input, out : str
    name : str
        The tensor's.
    matrix : CompactMatrix
    base : int
        The operation's own shift.
    width : int
        Of the result.
    add : bool
    """

    input: str
    out: str
    name: str
    matrix: CompactMatrix
    base: int = 0
    width: int = WIDE
    add: bool = False

    def run(self, p):
        x, matrix = p.read(self.input), self.matrix
        if x.shape[1] < matrix.codes.shape[1]:
            x = np.hstack([x, np.tile(CONSTANTS, (len(x), 1))])
        product = _exact(x, matrix.codes.T) * scale_values()[matrix.scale]
        shift = self.base + matrix.shift - p.exponents.get(self.input, 0)
        add = p.read(self.out) if self.add else 0
        p.write(self.out, compute(product, shift, self.width, add))


@dataclass(eq=False)
class CompactRotate:
    """Queries or keys in 8 bits, their pairs turned by the position's angles.

    Parameters
    ----------
    vector : str
    head_dim : int
    rotation : int64[head_dim / 2, 2], or None where nothing is turned
        Cosine and sine of a position's angle in units of 2**-15.
    """

    vector: str
    head_dim: int
    rotation: np.ndarray | None

    def run(self, p):
        x = p.read(self.vector)
        if self.rotation is None:
            p.write(self.vector, compute(x, EXTRA, BYTE))
            return
        heads = x.reshape(len(x), -1, self.head_dim)
        cosine, sine, minus_sine = p.once(rotations, self.rotation, len(x))[:, :, None]
        even, odd = heads[..., 0::2], heads[..., 1::2]
        turned = [even * cosine + odd * minus_sine, even * sine + odd * cosine]
        turned = np.stack(turned, axis=-1).reshape(x.shape)
        p.write(self.vector, compute(turned, ROPE_SHIFT + EXTRA, BYTE))


@dataclass(eq=False)
class CompactAttention:
    """Attention over the latest ``window`` positions.

    Parameters
    ----------
    source : celosia.reference.operations.Attention
    window : int
    score_shift : int
        Turns ``16 * q . k`` into 1/32 octaves.
    """

    source: Attention
    window: int
    score_shift: int

    def run(self, p):
        s, n = self.source, len(p.tokens)
        kv, hd = s.n_kv_heads, s.head_dim
        q, k, v = (p.read(name).reshape(n, -1, hd).transpose(1, 0, 2) for name in (s.q, s.k, s.v))
        q, k, v = q.reshape(kv, s.group, n, hd), k[:, None], v[:, None]
        distance = p.positions[:, None] - p.positions
        seen = (distance >= 0) & (distance < self.window)
        scores = compute(_exact(q, k.swapaxes(-1, -2)) << 4, self.score_shift)
        largest = np.where(seen, scores, -(1 << 23)).max(axis=-1, keepdims=True)
        place = np.clip(largest - scores, 0, 255)
        power = np.where(seen, exp_table()[place], 0)  # [kv, group, n, n]
        root, exponent = _root(power.sum(axis=-1, keepdims=True))
        inverse = compute(root * root, 9, HALF)
        y = compute(_exact(power, v) * inverse, 21 + exponent, BYTE)
        p.write(s.out, y.reshape(s.n_heads, n, hd).transpose(1, 0, 2).reshape(n, -1))


@dataclass(eq=False)
class CompactGate:
    """``activation(gate) * up``, or without ``up``, in 8 bits with an exponent of its own.

    Parameters
    ----------
    source : celosia.reference.operations.Gate
    fraction : int
        Bits behind the point of gates.
    """

    source: Gate
    fraction: int

    @property
    def out(self):
        """The vector that it makes."""
        return self.source.out

    def run(self, p):
        s, gate = self.source, p.read(self.source.gate)
        place = np.clip(compute(gate, self.fraction - SIGMOID_FRACTION), -128, 127) + 128
        product, shift = gate * gate_table(s.activation)[place], GATE_SHIFTS[s.activation]
        if s.up:
            product, shift = compute(product, shift) * p.read(s.up), self.fraction
        hidden = compute(product, shift, HALF)
        exponent = excess(hidden, 7)
        p.write(s.out, compute(hidden, exponent, BYTE), exponent)


def excess(x, bits):
    """By how many bits the vector ``x[..., n]`` is longer than ``bits`` and a sign: [..., 1]."""
    used = np.bitwise_or.reduce(x ^ (x >> 63), axis=-1, keepdims=True)
    return np.maximum(bit_length(used) - bits, 0)


def _root(x):
    """``2**15 / sqrt(x / 2**exponent)`` and the exponent, even: of 7 or 8 leading bits of ``x``."""
    exponent = excess(x, 8)
    exponent = exponent + (exponent & 1)
    return root_table()[compute(x, exponent) & 255], exponent


def _exact(a, b):
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
