"""Rewrites of a float model, Model to Model: its output stays, but for float rounding."""

from dataclasses import replace

from celosia.reference.operations.gate import Gate
from celosia.reference.operations.linear import Linear, LinearPair

__all__ = ["machine_form", "pair_gates"]


def machine_form(model):
    """The model as the machine computes it."""
    return pair_gates(model)


def pair_gates(model):
    """Matrices whose results meet in a gate become one."""
    layers = tuple(_paired(layer) for layer in model.description.layers)
    return replace(model, description=replace(model.description, layers=layers))


def _paired(operations):
    gates = {op.gate: op for op in operations if isinstance(op, Gate) and op.up}
    linears = {op.out: op for op in operations if isinstance(op, Linear)}
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
