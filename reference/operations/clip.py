"""Clip: values held within limits."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Clip", "IntegerClip"]


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
        """None for values, which the format of the cache limits; see Attention."""
        if not q.normed(self.vector):
            return None
        return IntegerClip(self.vector, round(self.limit * q.want(self.vector).max()))


@dataclass(eq=False)
class IntegerClip:
    """``limit`` in the one unit of all the vector's values, which a norm on its way makes."""

    vector: str
    limit: int

    def run(self, p):
        p.write(self.vector, np.clip(p.read(self.vector).values, -self.limit, self.limit))
