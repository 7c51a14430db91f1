"""Hadamard: blocks of neighbours become alike in size, on the way (R3, R4 of QuaRot, SpinQuant)."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.arithmetic import saturate
from celosia.reference.operations.norm import ACTIVATION_WIDTH
from celosia.reference.units.hadamard import block_hadamard, block_shift, hadamard_matrix

__all__ = ["HEAD_VALUE_WIDTH", "Hadamard", "IntegerHadamard"]

HEAD_VALUE_WIDTH = 16  # bits of a query's or key's value


@dataclass(frozen=True)
class Hadamard:
    """``H x / 2**shift`` of each block of ``size`` neighbours of a vector, in place.

    ``H`` is Sylvester's matrix; with a size that is a power of four the transform is orthonormal.

    Parameters
    ----------
    vector : str
    size : int, a power of two
    """

    vector: str
    size: int

    @property
    def key(self):
        """The name under which calibration knows what comes out."""
        return f"{self.vector} transformed"

    @property
    def matrix(self):
        """``H / 2**shift``: float64[size, size]."""
        return hadamard_matrix(self.size, 1) * 2.0 ** -block_shift(self.size)

    def shapes(self, sizes):
        return {}

    def run(self, p):
        x = p.read(self.vector)
        p.observe(f"{self.vector} straight", x)
        y = x.reshape(len(x), -1, self.size) @ self.matrix.astype(np.float32)
        y = y.reshape(x.shape)
        p.observe(self.key, y)
        p.write(self.vector, y)

    def demand(self, q):
        """What is asked for holds in front of the transform too: a block has one factor."""

    def quantize(self, q):
        width = HEAD_VALUE_WIDTH if q.wanted(self.vector) else ACTIVATION_WIDTH
        return IntegerHadamard(self.vector, self.size, width)


@dataclass(eq=False)
class IntegerHadamard:
    """:func:`celosia.reference.units.hadamard.block_hadamard` in the unit of its input.

    Parameters
    ----------
    vector : str
    size : int
    width : int
        Bits of its values: those of heads, or of what becomes an activation.
    """

    vector: str
    size: int
    width: int

    def run(self, p):
        x = saturate(p.read(self.vector).values, self.width)
        y = block_hadamard(x, self.size, self.width)
        if self.width < ACTIVATION_WIDTH:
            p.write(self.vector, y)
        else:
            p.count("activations", y, ACTIVATION_WIDTH)
            p.write(self.vector, p.blocks(y))
