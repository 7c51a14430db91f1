"""RMSNorm without a pass of its own: gains and squares as the residual stream is written."""

import numpy as np
from celosia.reference.arithmetic import magnitude_bits, round_shift, saturate

__all__ = ["gain", "sum_of_squares"]


def sum_of_squares(x):
    """``sum(x**2)`` over blocks ``x[..., blocks, lanes]``, each cut to 12 leading bits (floor)."""
    x = np.asarray(x, np.int64)
    exponent = np.maximum(magnitude_bits(x) - 11, 0)
    mantissa = x >> exponent[..., None]
    return ((mantissa * mantissa).sum(axis=-1) << (2 * exponent)).sum(axis=-1)


def gain(x, gains, shift, width):
    """``round(x * gains / 2**shift)`` saturated to ``width`` bits; gains are int16."""
    return saturate(round_shift(np.asarray(x, np.int64) * gains, shift), width)
