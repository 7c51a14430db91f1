"""Tensors as they come from files: what is asked of the values, in the file's words."""

import numpy as np
from celosia.reference.checkpoint.error import CheckpointError

__all__ = ["check_shape", "check_values"]

#: Where a tensor's largest magnitude must lie: what a machine's steps and float32's squares hold.
SMALLEST, LARGEST = 1e-18, 1e15


def check_shape(path, name, found, shape):
    """Raise a CheckpointError unless the tensor ``name`` has ``shape``."""
    if tuple(found) != tuple(shape):
        raise CheckpointError(
            f"{path}: {name} must have the shape {list(shape)}, not {list(found)}"
        )


def check_values(path, name, array):
    """``array``, whose values are finite, and all 0 or of a size that can be computed with.

    Raises
    ------
    CheckpointError
        If they are not.
    """
    if array.size:
        largest = max(float(np.max(array)), -float(np.min(array)))  # nan if any is
        if not np.isfinite(largest) or np.isnan(np.min(array)):
            raise CheckpointError(f"{path}: {name} holds a value that is not finite")
        if largest and not SMALLEST <= largest <= LARGEST:
            raise CheckpointError(
                f"{path}: {name}: its largest magnitude must be from {SMALLEST:g} to {LARGEST:g} "
                f"(or 0), not {largest:.3g}"
            )
    return array
