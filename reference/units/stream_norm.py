"""RMSNorm of whole vectors that stream by: each waits for its own root."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate, wrap_shift
from celosia.reference.functions.functions import rsqrt
from celosia.reference.units.norm import sum_of_squares

__all__ = ["FRACTION", "LEAST_SHIFT", "stream_norm"]

LEAST_SHIFT = -8
FRACTION = 19  # bits behind the point of a value by its vector's power of two


def stream_norm(x, gains, epsilon, shift, width, offsets=0, limit=None):
    """``x * gains / sqrt(sum(x**2) + epsilon) / 2**shift + offsets`` of ``x[..., words, lanes]``.

    The sum is that of :func:`celosia.reference.units.norm.sum_of_squares`, its root that of
    :func:`celosia.reference.functions.functions.rsqrt`: ``mantissa * 2**(-15 - exponent)``. ``x``
    is rounded down to units of ``2**(exponent - 19)``, ``gains * mantissa`` to units of ``2**14``,
    their product by ``shift``, both half up; the sum saturates to ``width`` bits, and to ``limit``.

    For a normalised value ``z = x / sqrt(sum(x**2) + epsilon)`` the error against float64 is at
    most ``0.5 + (r |z gain| + 2**-18 |gain| + |z|) / 2**shift`` with ``r = 6.2e-5 +
    (1 + sqrt(lanes)) * 2**-11``. The second part of ``r`` is for words of one sign whose values
    all are cut by the most; of hundreds of random values of both signs ``r`` stays below 3e-4.

    Parameters
    ----------
    x : int[..., words, lanes]
        Of 24 signed bits. Lanes that hold no value are 0.
    gains : int16[words, lanes]
        The norm's, times the root of the vector's size, in units of the result times ``2**shift``.
    epsilon : int, 1 or more
        The norm's, times the vector's size, in squared units of ``x``.
    shift : int, -8 to 15
    width : int
    offsets : int[words, lanes]
        Of ``width`` bits, in units of the result.
    limit : int, optional
        The largest magnitude of the result.
    """
    x = np.asarray(x, np.int64)
    root = rsqrt(sum_of_squares(x) + epsilon)
    mantissa, exponent = (part[..., None, None] for part in root)
    factor = round_shift(np.asarray(gains, np.int64) * mantissa, 14)
    y = round_shift(wrap_shift(x, exponent - FRACTION) * factor, FRACTION + 1 + shift)
    y = saturate(y + offsets, width)
    return y if limit is None else np.clip(y, -limit, limit)
