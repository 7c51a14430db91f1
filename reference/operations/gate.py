"""Gate: an MLP's activation, times what stands beside it where there are two."""

import math
from dataclasses import dataclass

import numpy as np
from celosia.reference.operations.norm import ACTIVATION_WIDTH
from celosia.reference.quantization.matrix import ceil_log2
from celosia.reference.units.gate import activation_fraction
from celosia.reference.units.gate import gate as integer_gate

__all__ = ["ACTIVATIONS", "Gate", "IntegerGate", "sigmoid"]

_erf = np.frompyfunc(math.erf, 1, 1)


def sigmoid(x):
    """``1 / (1 + exp(-x))``, without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _gelu(x):
    erf = np.asarray(_erf(x.astype(np.float64) / math.sqrt(2)), np.float64)
    return (0.5 * x * (1.0 + erf)).astype(x.dtype)


def _gelu_tanh(x):
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1.0) + np.tanh(inner))


ACTIVATIONS = {
    "silu": lambda x: x * sigmoid(x),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
}


@dataclass(frozen=True)
class Gate:
    """``out = activation(gate) * up``, or ``activation(gate)`` without ``up``.

    Parameters
    ----------
    gate, out : str
    activation : str
        A name in ``ACTIVATIONS``.
    up : str, optional
    """

    gate: str
    out: str
    activation: str
    up: str | None = None

    def shapes(self, sizes):
        return {}

    def run(self, p):
        gate = p.read(self.gate)
        p.observe("gate", gate)
        hidden = ACTIVATIONS[self.activation](gate)
        if self.up:
            up = p.read(self.up)
            p.observe("up", up)
            hidden = hidden * up
        p.observe("hidden", hidden)
        p.write(self.out, hidden)

    def demand(self, q):
        q.ask(self.gate, 2.0**q.gate_fraction)
        if self.up:
            q.ask(self.up, 2.0 ** (16 - ceil_log2(q.margin * q.seen("up").max())))

    def quantize(self, q):
        product = activation_fraction(self.activation, q.gate_fraction)
        if self.up:
            product += round(math.log2(q.want(self.up)[0]))
        largest = q.everywhere("hidden") if q.taken_by_norm(self.out) else q.seen("hidden").max()
        if transform := q.transform(self.out):
            largest = max(largest, q.seen(transform.key).max())
        fraction = ACTIVATION_WIDTH - 2 - ceil_log2(q.margin * largest)
        fraction = min(fraction, product - bool(self.up))
        q.give(self.out, 2.0**-fraction)
        name = f"{self.gate}:{self.up}" if self.up else self.gate
        return IntegerGate(self, name, product - fraction)


@dataclass(eq=False)
class IntegerGate:
    """``activation(gate) * up / 2**shift`` of a vector in which blocks of both alternate.

    Without ``up``, ``activation(input) / 2**shift``.
    """

    source: Gate
    input: str
    shift: int

    @property
    def out(self):
        """The vector that it makes."""
        return self.source.out

    def run(self, p):
        x = p.read(self.input).values
        width = 18 if self.source.activation == "relu2" else 20
        gate, up = x.reshape(len(x), -1, p.lanes), None
        if self.source.up:
            pairs = x.reshape(len(x), -1, 2, p.lanes)
            gate, up = pairs[:, :, 0], pairs[:, :, 1]
            p.count("gates", up, 18)
        p.count("gates", gate, width)
        hidden = integer_gate(
            *(gate, up, self.shift, ACTIVATION_WIDTH),
            *(self.source.activation, p.model.gate_fraction),
        )
        hidden = hidden.reshape(len(x), -1)
        p.finish(self.source.out, hidden)
