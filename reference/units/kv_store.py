"""Keys or values in 8 or 4 bits, each vector with its scale, in numbered slots."""

import numpy as np
from celosia.reference.units.quantizer import dynamic_quantize

__all__ = ["KvStore"]


class KvStore:
    """``n_slots`` vectors int[size] of ``width`` bits and their scales."""

    def __init__(self, n_slots, size, width=8):
        self.width = width
        self.vectors = np.zeros((n_slots, size), np.int64)
        self.scales = np.zeros(n_slots, np.int64)

    def write(self, slot, x):
        """Quantise ``x`` int[size] into ``slot``."""
        self.vectors[slot], self.scales[slot], _ = dynamic_quantize(x, self.width)

    def copy(self, slot, source):
        """Copy ``source`` to ``slot``."""
        self.vectors[slot], self.scales[slot] = self.vectors[source], self.scales[source]

    def read(self, slot):
        """``q`` int[size] and ``scale``: the vector is about ``q * scale * 2**-8``."""
        return self.vectors[slot], int(self.scales[slot])
