"""Linear: a matrix, with or without a bias; into a vector of its own, or added to one."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.arithmetic import saturate
from celosia.reference.matrix import Matrix, linear, scaled
from celosia.reference.scale import scale

__all__ = ["SCALED_WIDTH", "IntegerLinear", "Linear", "LinearPair"]

SCALED_WIDTH = 24  # bits of a scaled result


@dataclass(frozen=True)
class Linear:
    """``out = factor * (weight @ input + bias)``; with ``add``, ``out += ...``.

    Parameters
    ----------
    input, out, weight : str
    bias : str, optional
    add : bool
    factor : float
    """

    input: str
    out: str
    weight: str
    bias: str | None = None
    add: bool = False
    factor: float = 1.0

    def shapes(self, sizes):
        shapes = {self.weight: (sizes[self.out], sizes[self.input])}
        if self.bias:
            shapes[self.bias] = (sizes[self.out],)
        return shapes

    def run(self, p):
        y = p.read(self.input) @ p.tensor(self.weight).T
        if self.bias:
            y = y + p.tensor(self.bias)
        if self.factor != 1.0:
            y = y * np.float32(self.factor)
        p.write(self.out, p.read(self.out) + y if self.add else y)

    def demand(self, q):
        pass

    def quantize(self, q):
        want = q.want(self.out) * self.factor
        factor = want * q.unit(self.input)
        if self.out == "logits":
            matrix = scaled(q.head_codes(self.weight), factor)
        else:
            places = q.places(self.input), q.places(self.out)
            matrix = linear(q.tensor(self.weight), factor, q.scheme, *places)
        bias = q.biases(self.out, q.tensor(self.bias) * want) if self.bias else None
        return IntegerLinear(self.input, self.out, self.weight, matrix, bias, self.add)


@dataclass(frozen=True)
class LinearPair:
    """Two matrices of one input, whose results meet in a gate: block by block in turn.

    What :class:`Linear` for each of ``outs`` would be; the machine takes their rows as one matrix.

    Parameters
    ----------
    input : str
    outs, weights : (str, str)
    biases : (str or None, str or None)
    """

    input: str
    outs: tuple
    weights: tuple
    biases: tuple = (None, None)

    @property
    def out(self):
        """The name of both results as one vector."""
        return ":".join(self.outs)

    def quantize(self, q):
        first, second = self.outs
        n, lanes = q.size(first), q.scheme.lanes
        padded = q.scheme.padded(n)
        rows = np.arange(n) // lanes * 2 * lanes + np.arange(n) % lanes
        places = np.concatenate([rows, rows + lanes]), 2 * padded
        wants = [np.broadcast_to(q.want(out), n) for out in self.outs]
        want = np.concatenate(wants)
        weight = np.concatenate([q.tensor(name) for name in self.weights])
        factor = want * q.unit(self.input)
        matrix = linear(weight, factor, q.scheme, q.places(self.input), places)
        bias = None
        if any(self.biases):
            parts = [q.tensor(b) if b else np.zeros(n, np.float32) for b in self.biases]
            bias = np.zeros(2 * padded, np.int64)
            bias[places[0]] = np.round(np.concatenate(parts) * want)
        return IntegerLinear(self.input, self.out, "+".join(self.weights), matrix, bias)


@dataclass
class IntegerLinear:
    """``round(matrix @ input)`` scaled, plus ``bias``, in 24 bits; or added to the residual.

    Parameters
    ----------
    input, out : str
    name : str
        The weight's.
    matrix : Matrix
    bias : int64[rows], or None
        In the unit of the result.
    add : bool
    """

    input: str
    out: str
    name: str
    matrix: Matrix
    bias: np.ndarray | None = None
    add: bool = False

    def run(self, p):
        x = p.read(self.input)
        if self.out == "logits" and not p.all_logits:
            x = x.last()
        acc = p.exact(x.values, self.matrix.matrix)  # [n, rows]
        shift = self.matrix.shift + x.exponent
        y = scale(acc, self.matrix.scale, shift, x.mantissa, width=SCALED_WIDTH)
        if self.bias is not None:
            y = saturate(y + self.bias, SCALED_WIDTH)
        if self.add:
            p.residual(self.out, p.saturated(p.read(self.out).values + y))
        else:
            p.write(self.out, y)
