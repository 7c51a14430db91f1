"""What systolic arrays compute: exact products, some of them two by two in one multiplication."""

import numpy as np

__all__ = ["matmul", "packed_products"]


def matmul(a, b, ternary=False):
    """``a @ b`` in int64, exact. Ternary weights ``b`` other than -1, 0 and 1 count as 0."""
    b = np.asarray(b, np.int64)
    if ternary:
        b = np.where(np.abs(b) <= 1, b, 0)
    return np.asarray(a, np.int64) @ b


def packed_products(activation, weights, width):
    """``activation * weights[0], activation * weights[1]`` by one multiplication.

    ``width`` is that of a product. ``(weights[1] * 2**width + weights[0]) * activation`` holds
    both, the lower one's sign borrowed from the upper one: what is above ``width`` bits is one too
    small where the lower product is negative.
    """
    low, high = (np.asarray(w, np.int64) for w in weights)
    product = ((high << width) + low) * np.asarray(activation, np.int64)
    lower = product & ((1 << width) - 1)
    negative = lower >> (width - 1)
    return lower - (negative << width), (product >> width) + negative
