"""Ternary weights: which models have them."""

import numpy as np
from celosia.reference.operations import Experts, Linear
from celosia.reference.operations.linear import LinearPair

__all__ = ["check_ternary"]

SAME = 1e-3  # what float formats make of one number


def check_ternary(model, wide_head=False):
    """Refuse a matrix that has another row than one of -s, 0 and s; a ``wide_head`` may.

    Raises
    ------
    ValueError
        If there is one; the message names the tensor.
    """
    d, layers = model.description, enumerate(model.layers)
    tables = {name for op in d.begin for name in (op.table, op.positions)}
    ends = {} if wide_head else _matrices(d.end)
    parts = [("", {n: model.tensors[n] for n in ends})]
    parts += [(f"layers.{n}.", {w: t[w] for w in _matrices(d.layers[n])}) for n, t in layers]
    for place, matrices in parts:
        for name, weight in matrices.items():
            size = np.abs(weight)
            largest = size.max(axis=-1, keepdims=True)
            if ((size > SAME * largest) & (size < (1 - SAME) * largest)).any():
                tied = " (it is the embedding, too)" if name in tables else ""
                raise ValueError(f"{place}{name} is not ternary{tied}")


def _matrices(operations):
    """The names of all matrices."""
    names = {}
    for op in operations:
        if isinstance(op, Linear | LinearPair):
            names |= dict.fromkeys(op.weights if isinstance(op, LinearPair) else (op.weight,))
        elif isinstance(op, Experts):
            names |= dict.fromkeys((op.router, op.gate, op.up, op.down))
    return names
