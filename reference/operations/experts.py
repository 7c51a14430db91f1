"""Experts: a router chooses a few of many gated MLPs, whose weighted sum is added."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.operations.gate import ACTIVATIONS

__all__ = ["Experts"]


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
                y[n] += weight * self._expert(p, h[n : n + 1], expert)[0]
        p.write(self.out, p.read(self.out) + y)

    def _expert(self, p, h, expert):
        gate, up = (h @ p.tensor(name)[expert].T for name in (self.gate, self.up))
        p.observe("gate", gate)
        p.observe("up", up)
        hidden = ACTIVATIONS[self.activation](gate) * up
        p.observe("hidden", hidden)
        return hidden @ p.tensor(self.down)[expert].T

    def demand(self, q):
        pass
