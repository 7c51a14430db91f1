"""Hadamard transforms on the way: of queries and keys (R3), and in front of ``down`` (R4).

QuaRot, arXiv 2404.00456, and SpinQuant, arXiv 2405.16406, in blocks (arXiv 2511.04214). The model's
output stays, but for float rounding.
"""

from dataclasses import replace

import numpy as np
from celosia.reference.operations import Attention, Clip, Experts, Gate, Hadamard, Linear
from celosia.reference.rewrites.draft import Draft, writes
from celosia.reference.units.hadamard import block_shift

__all__ = ["transform_heads", "transform_hidden"]


def transform_heads(model, size):
    """R3: blocks of ``size`` of each query and key are transformed, which their product loses.

    Raises
    ------
    ValueError
        If heads are not whole blocks, or clipped.
    """
    draft = Draft(model)
    for operations, _ in draft.parts[1:-1]:
        for attention in [op for op in operations if isinstance(op, Attention)]:
            vectors, place = (attention.q, attention.k), operations.index(attention)
            if any(isinstance(op, Hadamard) and op.vector in vectors for op in operations):
                continue
            if attention.head_dim % size:
                raise ValueError(
                    f"rotate_keys must divide a head's {attention.head_dim} values, not {size}"
                )
            if any(isinstance(op, Clip) and op.vector in vectors for op in operations):
                raise ValueError(f"rotate_keys must be 0 for queries that are clipped, not {size}")
            scale = attention.scale * 4.0 ** block_shift(size) / size
            made = [Hadamard(vector, size) for vector in vectors]
            operations[place : place + 1] = [*made, replace(attention, scale=scale)]
    return draft.model()


def transform_hidden(model, size):
    """R4: blocks of ``size`` of what a gate makes are transformed, and back by the matrix behind.

    Where that is no number of whole blocks, it is longer by values that are 0.

    Raises
    ------
    ValueError
        If something else than one matrix reads it.
    """
    draft = Draft(model)
    for number, (operations, tensors) in enumerate(draft.parts[1:-1]):
        if any(isinstance(op, Experts) for op in operations):
            raise ValueError(f"rotate_down must be 0 for a model with experts, not {size}")
        for gate in [op for op in operations if isinstance(op, Gate)]:
            place = operations.index(gate)
            readers = [operations[n] for n in draft.readers(operations, place)]
            if any(isinstance(op, Hadamard) for op in readers):
                continue
            if len(readers) != 1 or not isinstance(readers[0], Linear):
                raise ValueError(
                    f"layer {number}: rotate_down must be 0, not {size}: no matrix reads its gate"
                )
            for vector in filter(None, (gate.gate, gate.up, gate.out)):
                draft.sizes[vector] = -(-draft.sizes[vector] // size) * size
            for op in operations:
                if writes(op) & {gate.gate, gate.up}:
                    _lengthen(tensors, op, draft.sizes[op.out])
            weight = tensors[readers[0].weight].astype(np.float64)
            weight = np.pad(weight, ((0, 0), (0, draft.sizes[gate.out] - weight.shape[1])))
            made = Hadamard(gate.out, size)
            back = np.linalg.inv(made.matrix)
            weight = (weight.reshape(len(weight), -1, size) @ back).reshape(weight.shape)
            tensors[readers[0].weight] = weight.astype(np.float32)
            operations.insert(place + 1, made)
    return draft.model()


def _lengthen(tensors, op, size):
    """Rows of zeros below the matrix of ``op``, and its bias, if it is to have more."""
    for name in filter(None, (op.weight, op.bias)):
        missing = size - len(tensors[name])
        if missing:
            shape = ((0, missing), *[(0, 0)] * (tensors[name].ndim - 1))
            tensors[name] = np.pad(tensors[name], shape)
