"""LayerNorm: exact statistics, one rounding at the end."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate, wrap_shift
from celosia.reference.functions.functions import rsqrt

__all__ = ["FRACTION", "layer_norm"]

FRACTION = 16  # bits behind the point of a normalised value


def layer_norm(x, gains, biases, epsilon, shift, width):
    """``(x - mean) / sqrt(variance + epsilon) * gains / 2**shift + biases`` over the last axis.

    Statistics are exact: with ``n`` values, ``d = n x - sum(x)`` and ``v = n sum(x**2) - sum(x)**2
    + epsilon`` the normalised value is ``d / sqrt(v)``, rounded down to 16 bits behind the point
    before it meets gain times :func:`celosia.reference.functions.functions.rsqrt`, itself rounded
    (half up) to 18 bits. The product is rounded half up, ``biases`` are added in units of the
    result, and the sum saturates to ``width`` bits.

    ``gains`` are int16, ``shift`` is from 0 to 30; ``epsilon`` is a positive integer, ``n**2``
    times the norm's in squared units of ``x``. ``v`` is below 2**62.
    """
    x = np.asarray(x, np.int64)
    n = x.shape[-1]
    total = x.sum(axis=-1, keepdims=True)
    squares = (x * x).sum(axis=-1, keepdims=True)
    mantissa, exponent = rsqrt(n * squares - total * total + epsilon)
    normalised = wrap_shift(n * x - total, exponent - FRACTION)
    factor = round_shift(mantissa * np.asarray(gains, np.int64), 14)
    return saturate(round_shift(normalised * factor, FRACTION + 1 + shift) + biases, width)
