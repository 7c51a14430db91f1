"""LayerNorm, and RMSNorm in the same arithmetic: exact statistics, one rounding at the end."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate, wrap_shift
from celosia.reference.functions.functions import rsqrt

__all__ = ["FRACTION", "layer_norm", "rms_norm_stream"]

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
    y = _scaled(n * x - total, n * squares - total * total + epsilon, gains, shift)
    return saturate(y + biases, width)


def rms_norm_stream(x, gains, epsilon, shift, width):
    """``x / sqrt(mean(x**2) + epsilon) * gains / 2**shift`` over the last axis.

    As :func:`layer_norm` with ``d = n x``, ``v = n sum(x**2) + epsilon`` and no bias.
    """
    x = np.asarray(x, np.int64)
    n = x.shape[-1]
    squares = (x * x).sum(axis=-1, keepdims=True)
    return saturate(_scaled(n * x, n * squares + epsilon, gains, shift), width)


def _scaled(d, v, gains, shift):
    mantissa, exponent = rsqrt(v)
    normalised = wrap_shift(d, exponent - FRACTION)
    factor = round_shift(mantissa * np.asarray(gains, np.int64), 14)
    return round_shift(normalised * factor, FRACTION + 1 + shift)
