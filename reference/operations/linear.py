"""Linear: a matrix, with or without a bias; into a vector of its own, or added to one."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.arithmetic import saturate
from celosia.reference.quantization.coded import Coded
from celosia.reference.quantization.formats import excess
from celosia.reference.quantization.matrix import Matrix, linear, recoded, rounded, scaled
from celosia.reference.units.scale import scale

__all__ = ["SCALED_WIDTH", "IntegerLinear", "Linear", "LinearPair", "paired"]

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

    def macs(self, sizes, positions):
        return sizes[self.out] * sizes[self.input]

    def run(self, p):
        y = p.read(self.input) @ p.tensor(self.weight).T
        if self.bias:
            y = y + p.tensor(self.bias)
        if self.factor != 1.0:
            y = y * np.float32(self.factor)
        if self.add:
            p.observe(f"{self.weight} output", y)
            y = p.read(self.out) + y
        p.write(self.out, y)

    def demand(self, q):
        pass

    def quantize(self, q):
        if self.out == "logits":
            matrix = q.head(self.weight, self.factor * q.unit(self.input))
        else:
            factor = q.want(self.out) * self.factor * q.unit(self.input)
            places = q.places(self.input), q.places(self.out)
            matrix = linear(q.weight(self.weight), factor, q.scheme, *places)
        want = q.want(self.out) * self.factor
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

    def shapes(self, sizes):
        shapes = {}
        for part in self._parts():
            shapes |= part.shapes(sizes)
        return shapes

    def macs(self, sizes, positions):
        return sum(part.macs(sizes, positions) for part in self._parts())

    def run(self, p):
        for part in self._parts():
            part.run(p)

    def _parts(self):
        parts = zip(self.outs, self.weights, self.biases, strict=True)
        return [Linear(self.input, *part) for part in parts]

    def demand(self, q):
        pass

    def quantize(self, q):
        weights = [q.weight(name) for name in self.weights]
        if all(isinstance(weight, Coded) for weight in weights):
            weights = Coded.joined(weights)
        else:
            weights = np.concatenate([q.tensor(name) for name in self.weights])
        matrix, want, places = paired(q, self.input, self.outs, weights)
        n, bias = q.size(self.outs[0]), None
        if any(self.biases):
            parts = [q.tensor(b) if b else np.zeros(n, np.float32) for b in self.biases]
            bias = np.zeros(len(matrix.weight), np.int64)
            bias[places] = np.round(np.concatenate(parts) * want)
        return IntegerLinear(self.input, self.out, "+".join(self.weights), matrix, bias)


def paired(q, source, outs, weights, n=1):
    """The matrix of gates and ups of the vector ``source``, block by block in turn.

    Parameters
    ----------
    q : Quantizer
    source : str
    outs : (str, str)
        The vectors of gates and ups, in whose formats the results are.
    weights : float32[n * 2 * rows, columns] or Coded
        Of ``n`` such pairs, one behind the other in the matrix, which has one shift.
    n : int

    Returns
    -------
    Matrix, float64[n * 2 * rows], int[n * 2 * rows]
        What results are multiplied by, and the place in the matrix, of each row of ``weights``.
    """
    (gate, up), lanes = outs, q.scheme.lanes
    size = len(weights.codes if isinstance(weights, Coded) else weights) // (2 * n)
    rows = np.arange(size) // lanes * 2 * lanes + np.arange(size) % lanes
    padded = 2 * q.scheme.padded(size)
    gate_rows = np.arange(n)[:, None] * padded + rows
    places = np.stack([gate_rows, gate_rows + lanes], axis=1).reshape(-1)
    rows = places, n * padded
    codes = rounded(weights, q.scheme.weight_width, q.scheme, q.places(source), rows)
    # Where up's scales leave the gates' too few bits, they are smaller.
    gates = np.broadcast_to(q.margin * q.seen("gate") * q.want(gate), gate_rows.shape)
    matrix = want = None
    for _ in range(8):
        want = np.tile(np.repeat([*q.want(gate), *q.want(up)], size), n)
        factor = want * q.unit(source)
        matrix = scaled(recoded(codes, factor), factor)
        if not excess(matrix.scale[gate_rows], gates, normed=True):
            break
        q.ask(up, q.want(up) / 2)
    return matrix, want, places


@dataclass(eq=False)
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
            x = x.of(slice(-1, None))
        acc = p.exact(x.values, self.matrix.matrix)  # [n, rows]
        shift = self.matrix.shift + x.exponent
        p.count_limited(acc, shift)
        y = scale(acc, self.matrix.scale, shift, x.mantissa, width=SCALED_WIDTH)
        if self.bias is not None:
            y = saturate(y + self.bias, SCALED_WIDTH)
        if self.add:
            p.write(self.out, p.saturated(p.read(self.out).values + y))
        else:
            p.write(self.out, y)
