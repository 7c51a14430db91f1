"""The router: which experts a token takes, and their weights."""

import numpy as np
from celosia.reference.arithmetic import round_shift
from celosia.reference.functions.functions import reciprocal
from celosia.reference.functions.tables import power_table

__all__ = ["FARTHEST", "GUARD", "router"]

FRACTION = 14  # bits behind the point of a logarithm to base 2, as the table takes it
GUARD = 8  # bits below the largest power's that the sum of powers keeps
FARTHEST = 31  # octaves: what lies as far below the largest, or farther, counts as that


def router(x, k, fraction, renormalise):
    """The ``k`` largest of ``x``, the lower number of equals first, and their softmax to base 2.

    Powers ``2**(x - largest)`` have 16 bits and an exponent of their own; their sum is that of all
    ``x``, or with ``renormalise`` of those ``k``, each rounded down to 2**-23. Largest relative
    error of a weight 2e-4, where it is above 2**-30.

    Parameters
    ----------
    x : int[..., n]
        In units of ``2**-fraction``, of 24 bits; ``fraction`` is from 0 to 14.
    k : int
    fraction : int
    renormalise : bool

    Returns
    -------
    int64[..., k], int64[..., k], int64[..., k]
        Numbers; mantissas, from 2**15 to 2**16, and shifts: a weight is
        ``mantissa * 2**(-15 - shift)``.
    """
    x = np.asarray(x, np.int64)
    numbers = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    power, distance = _power(x - x.max(axis=-1, keepdims=True), fraction)
    chosen = [np.take_along_axis(part, numbers, axis=-1) for part in (power, distance)]
    counted = chosen if renormalise else (power, distance)
    total = ((counted[0] << GUARD) >> counted[1]).sum(axis=-1, keepdims=True)
    root, places = reciprocal(total)
    product = chosen[0] * root  # from 2**30 to 2**32 - 1
    upper = product >> 31
    shift = places - GUARD - 16 + chosen[1] + 1 - upper
    return numbers, round_shift(product, 15 + upper), shift


def _power(x, fraction):
    """``2**x`` for ``x <= 0`` as ``mantissa * 2**(-15 - distance)``."""
    x = x << (FRACTION - fraction)
    base, step = power_table()
    segment, rest = (x >> 7) & 127, x & 127
    mantissa = base[segment] + round_shift(step[segment] * rest, 7)
    return mantissa, np.minimum(-(x >> FRACTION), FARTHEST)
