"""Add: a finished vector onto the residual stream."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Add", "IntegerAdd"]


@dataclass(frozen=True)
class Add:
    """``out += factor * input``.

    Parameters
    ----------
    input, out : str
    factor : float
    """

    input: str
    out: str
    factor: float = 1.0

    def shapes(self, sizes):
        return {}

    def run(self, p):
        y = p.read(self.input)
        if self.factor != 1.0:
            y = y * np.float32(self.factor)
        p.write(self.out, p.read(self.out) + y)

    def demand(self, q):
        q.ask(self.input, q.want(self.out) * self.factor)

    def quantize(self, q):
        return IntegerAdd(self.input, self.out)


@dataclass(eq=False)
class IntegerAdd:
    """``out`` and ``input`` have one unit; the sum saturates to the residual stream's width."""

    input: str
    out: str

    def run(self, p):
        p.write(self.out, p.saturated(p.read(self.out).values + p.read(self.input).values))
