"""Cap: logits that approach a limit."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Cap"]


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
