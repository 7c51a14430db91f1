"""Rotate: rotary position embedding of the pairs of each head."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.functions.functions import sine_cosine
from celosia.reference.units.rope import rope

__all__ = ["IntegerRotate", "Rotate"]


@dataclass(frozen=True)
class Rotate:
    """Pair ``(2i, 2i + 1)`` of each head turned by ``position * frequencies[i]`` radians.

    Pairs that are turned are multiplied by ``factor`` too.

    Parameters
    ----------
    vector : str
    head_dim : int
    frequencies : tuple of head_dim / 2 floats
        Radians per position; 0 for pairs that are not turned.
    factor : float
    """

    vector: str
    head_dim: int
    frequencies: tuple
    factor: float = 1.0

    def shapes(self, sizes):
        return {}

    def run(self, p):
        x = p.read(self.vector)
        cos, sin = p.once((self.frequencies, self.factor), self._turns, p.positions)
        heads = x.reshape(len(x), -1, self.head_dim)
        even, odd = heads[..., 0::2], heads[..., 1::2]
        turned = np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
        p.write(self.vector, turned.reshape(x.shape))

    def _turns(self, positions):
        """Cosines and sines, float32[n, 1, head_dim / 2]."""
        angles = np.outer(positions, np.array(self.frequencies))[:, None, :]
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        return cos * self._factors, sin * self._factors

    @property
    def _factors(self):
        """Of each pair."""
        return np.where(self.frequencies, np.float32(self.factor), np.float32(1.0))

    def demand(self, q):
        """Both values of a pair have one format, which turning keeps; ``factor`` is folded in."""
        if self.factor != 1.0:
            want = q.want(self.vector).reshape(-1, self.head_dim)
            q.ask(self.vector, want * np.repeat(self._factors, 2))

    def quantize(self, q):
        return IntegerRotate(self.vector, self.increments())

    def increments(self):
        """Turns per position in units of 2**-32: a tuple of head_dim / 2 ints."""
        turns = np.round(np.array(self.frequencies) / (2 * np.pi) % 1.0 * 2.0**32)
        return tuple((turns.astype(np.int64) & 0xFFFFFFFF).tolist())


@dataclass(eq=False)
class IntegerRotate:
    """``increments`` are turns per position in units of 2**-32; see :func:`rope`."""

    vector: str
    increments: tuple

    def run(self, p):
        x = p.read(self.vector).values
        heads = x.reshape(len(x), -1, p.head_dim)
        sine, cosine = p.once(self.increments, self._turns, p.positions, p.head_dim // 2)
        p.write(self.vector, rope(heads, sine, cosine).reshape(x.shape))

    def _turns(self, positions, pairs):
        """Sines and cosines of so many pairs, int64[n, 1, pairs]."""
        turns = np.pad(np.array(self.increments, np.int64), (0, pairs - len(self.increments)))
        return [t[:, None] for t in sine_cosine(positions, turns)]
