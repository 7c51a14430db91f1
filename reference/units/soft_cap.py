"""Soft caps: scores and logits that bend towards a limit."""

import functools

import numpy as np
from celosia.reference.arithmetic import round_shift
from celosia.reference.functions.tables import interpolation

__all__ = ["SEGMENTS", "X_WIDTH", "soft_cap", "soft_cap_table"]

SEGMENTS = 9  # a power of two
REACH = 6  # caps: from there on tanh counts as 1
X_WIDTH = 24


def soft_cap(x, cap):
    """``cap * tanh(x / cap)`` for integers ``x`` of 24 signed bits, in their unit as ``cap`` is.

    512 interpolated segments on ``[0, 2**n)``, the first such power from ``6 cap`` on, its last
    value beyond; odd in ``x``. The error against float64 is at most ``5.3e-5 cap + 1``.
    """
    x = np.asarray(x, np.int64)
    base, step, width = soft_cap_table(cap)
    place = np.minimum(np.abs(x), (1 << SEGMENTS + width) - 1)
    segment, fraction = place >> width, place & ((1 << width) - 1)
    y = base[segment] + round_shift(step[segment] * fraction, width)
    return np.where(x < 0, -y, y)


@functools.cache
def soft_cap_table(cap):
    """Bases, steps, and the bits of a place within a segment, for ``cap`` of 86 or more."""
    width = min((REACH * cap - 1).bit_length(), X_WIDTH - 1) - SEGMENTS
    end = float(1 << SEGMENTS + width)
    return *interpolation(lambda x: np.tanh(x / cap), 0.0, end, 1 << SEGMENTS, cap), width
