"""Queries and keys in 8 bits: one step for each head of each token."""

import numpy as np
from celosia.reference.arithmetic import bit_length, round_shift

__all__ = ["STEP_SHIFT", "head_quantize", "reciprocals"]

STEP_SHIFT = 7  # steps, 9 bits, times 2**7 serve as 16-bit scales


def reciprocals():
    """``round(2**14 / m)`` for m from 1 to 16 (0 for 0): int64[17]."""
    return np.array([0] + [round((1 << 14) / m) for m in range(1, 17)], np.int64)


def head_quantize(x):
    """``round(x / step)`` for heads ``x`` int16[..., head_dim], and ``step`` int[...], 1 to 288.

    ``step = m * 2**e`` with m at most 16 is the smallest of its kind that is not below
    ``max|x| * 129 / 2**14`` (a hair under ``max|x| / 127``). Quotients are products with
    ``round(2**14 / m)``, rounded half up and limited to -127 ... 127.
    """
    x = np.asarray(x, np.int64)
    largest = np.abs(x).max(axis=-1)
    least = np.maximum((largest * 129 + (1 << 14) - 1) >> 14, 1)
    e = np.maximum(bit_length(least) - 4, 0)
    m = (least + (1 << e) - 1) >> e
    q = round_shift(x * reciprocals()[m][..., None], (14 + e)[..., None])
    return np.clip(q, -127, 127), m << e
