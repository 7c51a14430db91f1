"""Tables as sums of ternary digits."""

import numpy as np
from celosia.reference.quantization.matrix import Matrix, mantissas

__all__ = ["DIGITS", "digits"]

DIGITS = 5  # of a table's value: 243 levels


def digits(table, factor, scheme):
    """A table as :class:`Matrix` of each ternary digit, the highest first; their sum is it.

    Values are rounded to 121 steps on either side of 0, row by row. ``factor`` is what results are
    multiplied by.
    """
    most = (3**DIGITS - 1) // 2
    step = np.abs(table).max(axis=1).astype(np.float64) / most
    codes = np.zeros((len(table), scheme.padded(table.shape[1])), np.int64)
    divisor = np.where(step > 0, step, 1.0)[:, None]
    codes[:, : table.shape[1]] = np.round(table / divisor)
    found = []
    for place in range(DIGITS):
        digit = (codes + 1) % 3 - 1
        codes = (codes - digit) // 3
        scale, shift = mantissas(step * factor * 3.0**place)
        found.append(Matrix(digit.astype(np.int8), scale, shift))
    return found[::-1]
