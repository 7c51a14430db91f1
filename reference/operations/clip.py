"""Clip: values held within limits."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Clip"]


@dataclass(frozen=True)
class Clip:
    """``vector = min(max(vector, -limit), limit)``.

    Parameters
    ----------
    vector : str
    limit : float
    """

    vector: str
    limit: float

    def shapes(self, sizes):
        return {}

    def run(self, p):
        limit = np.float32(self.limit)
        p.write(self.vector, np.clip(p.read(self.vector), -limit, limit))

    def demand(self, q):
        pass

    def quantize(self, q):
        raise ValueError(f"{self.vector} is clipped, for which there is no unit")
