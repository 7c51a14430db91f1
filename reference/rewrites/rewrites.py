"""Rewrites of a float model, Model to Model: its output stays, but for float rounding.

A rewrite that finds nothing to do gives the model itself.
"""

from dataclasses import replace

from celosia.reference.operations.gate import Gate
from celosia.reference.operations.linear import Linear, LinearPair
from celosia.reference.rewrites.factor_rewrites import fold_factors
from celosia.reference.rewrites.hadamard_rewrites import transform_heads, transform_hidden
from celosia.reference.rewrites.norm_rewrites import (
    centre_writers,
    fold_gains,
    fold_norm_biases,
    fold_recurrent_norms,
    join_norms,
)

__all__ = [
    "REWRITES",
    "centre_writers",
    "fold_factors",
    "fold_gains",
    "fold_norm_biases",
    "fold_recurrent_norms",
    "join_norms",
    "machine_form",
    "pair_gates",
    "transformed",
]


def machine_form(model, ternary=False, rotate_down=0, rotate_keys=0):
    """The model as the machine computes it; ``ternary`` matrices stay so.

    With transforms of so many values in front of ``down``, and of queries and keys.
    """
    for rewrite in REWRITES[:-1]:
        if not (ternary and rewrite is fold_gains):
            model = rewrite(model)
    return pair_gates(transformed(model, rotate_down, rotate_keys))


def transformed(model, rotate_down, rotate_keys):
    """The model with Hadamard transforms of so many values, 0 for none."""
    if rotate_down:
        model = transform_hidden(model, rotate_down)
    return transform_heads(model, rotate_keys) if rotate_keys else model


def pair_gates(model):
    """Matrices of one input whose results meet in a gate become one."""
    layers = tuple(_paired(layer) for layer in model.description.layers)
    return replace(model, description=replace(model.description, layers=layers))


def _paired(operations):
    linears = {op.out: op for op in operations if isinstance(op, Linear)}
    gates = {
        op.gate: op
        for op in operations
        if isinstance(op, Gate) and op.up and linears[op.gate].input == linears[op.up].input
    }
    result = []
    for op in operations:
        if isinstance(op, Linear) and op.out in gates:
            other = linears[gates[op.out].up]
            op = LinearPair(
                op.input,
                (op.out, other.out),
                (op.weight, other.weight),
                (op.bias, other.bias),
            )
        elif isinstance(op, Linear) and any(op.out == gate.up for gate in gates.values()):
            continue
        result.append(op)
    return tuple(result)


#: In the machine's order.
REWRITES = (
    centre_writers,
    fold_norm_biases,
    fold_gains,
    fold_factors,
    join_norms,
    fold_recurrent_norms,
    pair_gates,
)
