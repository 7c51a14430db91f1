"""Experts: a router chooses a few of many gated MLPs, whose weighted sum is added."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from celosia.reference.operations.gate import ACTIVATIONS, Gate, IntegerGate
from celosia.reference.operations.linear import IntegerLinear, paired
from celosia.reference.quantization.formats import LOG2E, excess
from celosia.reference.quantization.matrix import linear, recoded, rounded, scaled
from celosia.reference.units.router import router
from celosia.reference.units.scale import LEAST_SHIFT

__all__ = ["Experts", "IntegerExperts"]

PAIR = ("experts gate", "experts up")
HIDDEN = "experts hidden"


@dataclass(frozen=True)
class Experts:
    """``out += sum over the k likeliest e of p[e] * down[e] @ (activation(gate[e] h) * up[e] h)``.

    ``p = softmax(router @ h)``; with ``renormalise`` the ``k`` sum to 1.

    Parameters
    ----------
    input, out : str
    router, gate, up, down : str
        Tensors [n, dim], [n, hidden, dim], [n, hidden, dim], [n, dim, hidden].
    n, k, hidden_dim : int
        Experts, those that are chosen, and the size of each one's hidden vector.
    activation : str
    renormalise : bool
    """

    input: str
    out: str
    router: str
    gate: str
    up: str
    down: str
    n: int
    k: int
    hidden_dim: int
    activation: str = "silu"
    renormalise: bool = True

    def shapes(self, sizes):
        dim = sizes[self.input]
        wide, narrow = (self.n, self.hidden_dim, dim), (self.n, dim, self.hidden_dim)
        return {self.router: (self.n, dim), self.gate: wide, self.up: wide, self.down: narrow}

    def macs(self, sizes, positions):
        return sizes[self.input] * (self.n + 3 * self.k * self.hidden_dim)

    def run(self, p):
        h = p.read(self.input)
        logits = h @ p.tensor(self.router).T
        p.observe("router", logits)
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        weights = weights / weights.sum(axis=-1, keepdims=True)
        chosen = np.argsort(-weights, axis=-1, kind="stable")[:, : self.k]
        some = np.take_along_axis(weights, chosen, axis=-1)
        if self.renormalise:
            some = some / some.sum(axis=-1, keepdims=True)
        y = np.zeros((len(h), p.tensor(self.down).shape[1]), np.float32)
        for n in range(len(h)):
            for expert, weight in zip(chosen[n], some[n], strict=True):
                part = weight * self._expert(p, h[n : n + 1], expert)
                p.observe(f"{self.down} output", part)
                y[n] += part[0]
        p.write(self.out, p.read(self.out) + y)

    def _expert(self, p, h, expert):
        gate, up = (h @ p.tensor(name)[expert].T for name in (self.gate, self.up))
        p.observe("gate", gate)
        p.observe("up", up)
        hidden = ACTIVATIONS[self.activation](gate) * up
        p.observe("hidden", hidden)
        return hidden @ p.tensor(self.down)[expert].T

    @property
    def _gate(self):
        return Gate(PAIR[0], HIDDEN, self.activation, PAIR[1])

    def demand(self, q):
        """All experts of a layer have the formats of one MLP."""
        self._gate.demand(q)

    def quantize(self, q):
        weight = np.stack([q.tensor(self.gate), q.tensor(self.up)], axis=1)
        weight = weight.reshape(-1, weight.shape[-1])
        matrix, _, _ = paired(q, self.input, PAIR, weight, self.n)
        gate = self._gate.quantize(q)
        pair = IntegerLinear(self.input, gate.input, f"{self.gate}+{self.up}", matrix)
        rows, size = q.places(self.out)
        places = (np.arange(self.n)[:, None] * size + rows).reshape(-1), self.n * size
        weight = q.tensor(self.down).reshape(-1, self.hidden_dim)
        factor = q.want(self.out) * q.unit(HIDDEN)
        columns = q.scheme.columns_of(self.hidden_dim)
        matrix = linear(weight, factor, q.scheme, columns, places)
        down = IntegerLinear(HIDDEN, f"{HIDDEN} out", self.down, matrix)
        return IntegerExperts(self, self._router(q), pair, gate, down, q.router_fraction)

    def _router(self, q):
        """The router's matrix, with as many bits as the head's."""
        width = q.scheme.head_width or q.scheme.weight_width
        codes = rounded(q.tensor(self.router), width, q.scheme, q.places(self.input))
        factor = LOG2E * 2.0**q.router_fraction * q.unit(self.input)
        matrix = scaled(recoded(codes, factor), factor)
        return IntegerLinear(self.input, "router", self.router, matrix)


@dataclass(eq=False)
class IntegerExperts:
    """Of each token the ``k`` experts of :func:`celosia.reference.units.router.router`, one by one.

    An expert's results are scaled by its weight as they are to their rows' scales, and added to
    the residual stream, which saturates each time.

    Parameters
    ----------
    source : Experts
    router : IntegerLinear
        Its results are logarithms to base 2, in units of ``2**-fraction``.
    pair : IntegerLinear
        Of all experts, one behind the other: blocks of gates and of ups in turn.
    gate : IntegerGate
    down : IntegerLinear
        Of all experts.
    fraction : int
    """

    source: Experts
    router: IntegerLinear
    pair: IntegerLinear
    gate: IntegerGate
    down: IntegerLinear
    fraction: int

    @property
    def input(self):
        """The vector that the router and the experts read."""
        return self.source.input

    @property
    def out(self):
        """The vector that is added to."""
        return self.source.out

    @property
    def parts(self):
        """What has a matrix."""
        return self.router, self.pair, self.down

    @cached_property
    def experts(self):
        """Of each expert its pair and its down."""
        return [tuple(self._part(op, n) for op in (self.pair, self.down)) for n in range(self.n)]

    @property
    def n(self):
        """The number of experts."""
        return self.source.n

    def _part(self, op, number):
        rows = len(op.matrix.weight) // self.n
        matrix = op.matrix.of(slice(number * rows, (number + 1) * rows))
        return replace(op, matrix=matrix)

    def missing(self, outputs):
        """Bits that the residual's binary point is too far right for ``outputs`` float64[dim]."""
        scales = self.down.matrix.scale.reshape(self.n, -1)[:, : len(outputs)]
        outputs = np.broadcast_to(outputs, scales.shape)
        shift = LEAST_SHIFT + 1 - self.down.matrix.shift
        return max(excess(scales, outputs, normed=True), shift)

    def run(self, p):
        self.router.run(p)
        logits = p.read(self.router.out).values
        settings = self.source.k, self.fraction, self.source.renormalise
        numbers, mantissas, shifts = router(logits, *settings)  # [tokens, k]
        x, out = p.read(self.input), p.read(self.out).values.copy()
        for rank in range(self.source.k):
            for number in np.unique(numbers[:, rank]):
                (tokens,) = np.nonzero(numbers[:, rank] == number)
                p.vectors[self.input] = x.of(tokens)
                scalar = mantissas[tokens, rank, None], shifts[tokens, rank, None] - 1
                out[tokens] += self._expert(p, number, scalar)
            out = p.saturated(out)
        p.vectors[self.input] = x
        p.write(self.out, out)

    def _expert(self, p, number, scalar):
        """What an expert adds, of the tokens that take it: int64[tokens, padded dim]."""
        pair, down = self.experts[number]
        pair.run(p)
        self.gate.run(p)
        p.write(HIDDEN, p.read(HIDDEN).values, *scalar)
        down.run(p)
        return p.read(down.out).values
