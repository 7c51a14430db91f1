"""Cap: logits that approach a limit."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.units.soft_cap import soft_cap

__all__ = ["Cap", "IntegerCap"]


@dataclass(frozen=True)
class Cap:
    """``vector = cap * tanh(vector / cap)``.

    Parameters
    ----------
    vector : str
    cap : float
    """

    vector: str
    cap: float

    def shapes(self, sizes):
        return {}

    def run(self, p):
        cap = np.float32(self.cap)
        p.write(self.vector, cap * np.tanh(p.read(self.vector) / cap))

    def demand(self, q):
        pass

    def quantize(self, q):
        return IntegerCap(self.vector, round(self.cap * 2.0**q.logit_fraction))


@dataclass(eq=False)
class IntegerCap:
    """``cap`` in units of the logits; see :func:`celosia.reference.units.soft_cap.soft_cap`."""

    vector: str
    cap: int

    def run(self, p):
        p.write(self.vector, soft_cap(p.read(self.vector).values, self.cap))
