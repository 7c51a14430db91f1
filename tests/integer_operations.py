"""What a quantised model's operations hold, by name: what programs and reports are checked with."""

from celosia.reference.operations.norm import IntegerNorm

__all__ = ["matrices", "norms", "only"]


def matrices(operations):
    """The matrices of some operations by the names of their tensors."""
    return {op.name: op.matrix for op in operations if hasattr(op, "matrix")}


def norms(operations):
    """Gains and shifts of the norms among some operations, in order."""
    return [(op.gains, op.shift) for op in operations if isinstance(op, IntegerNorm)]


def only(operations, kind):
    """The one operation of a class."""
    (found,) = (op for op in operations if isinstance(op, kind))
    return found
