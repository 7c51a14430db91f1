"""Scalar functions in fixed point: reciprocal, its root, what gates activations, sine, cosine."""

import numpy as np
from celosia.reference.arithmetic import bit_length, round_shift, wrap_shift
from celosia.reference.functions.tables import (
    GATING_REACH,
    gating_table,
    reciprocal_table,
    rsqrt_table,
    sine_table,
)

__all__ = ["gating", "reciprocal", "rsqrt", "sine", "sine_cosine"]


def rsqrt(x):
    """``1 / sqrt(x)`` as ``mantissa * 2**(-15 - shift)`` for ``1 <= x < 2**62``.

    ``shift = (bit_length(x) + 1) // 2``; the mantissa, from 2**15 to 2**16, interpolates 192
    segments over the 16 leading bits of ``x / 4**shift``. Largest relative error 6.1e-5.
    """
    x = np.asarray(x, np.int64)
    shift = (bit_length(x) + 1) >> 1
    u = wrap_shift(x, 2 * shift - 16)
    base, step = rsqrt_table()
    segment, fraction = (u >> 8) - 64, u & 255
    return base[segment] + round_shift(step[segment] * fraction, 8), shift


def reciprocal(x):
    """``1 / x`` as ``mantissa * 2**(-15 - shift)`` for ``1 <= x < 2**62``.

    ``shift = bit_length(x)``; the mantissa, from 2**15 to 2**16, interpolates 128 segments over
    the 16 leading bits of ``x / 2**shift``. Largest relative error 5.6e-5.
    """
    x = np.asarray(x, np.int64)
    shift = bit_length(x)
    u = wrap_shift(x, shift - 16)
    base, step = reciprocal_table()
    segment, fraction = (u >> 8) - 128, u & 255
    return base[segment] + round_shift(step[segment] * fraction, 8), shift


def gating(x, activation):
    """``s(x)`` in units of 2**-16, for ``x`` in units of 2**-12: the share of ``x`` that passes.

    ``activation`` is of :data:`celosia.reference.functions.tables.GATING_REACH`. 512 interpolated
    segments on ``[0, 2**reach)``, one beyond; ``s(-x) = 1 - s(x)``.
    Largest absolute error 2.4e-5 for "silu", 2.1e-5 for "gelu" and "gelu_tanh".
    """
    x = np.asarray(x, np.int64)
    a = np.abs(x)
    base, step = gating_table(activation)
    reach = 12 + GATING_REACH[activation]
    width = reach - 9
    inside = np.minimum(a, (1 << reach) - 1)
    segment, fraction = inside >> width, inside & ((1 << width) - 1)
    y = base[segment] + round_shift(step[segment] * fraction, width)
    y = np.where(a >= 1 << reach, 1 << 16, y)
    return np.where(x < 0, (1 << 16) - y, y)


def sine(phase):
    """The sine of ``phase`` in units of 2**-14, for a phase in units of 2**-32 turns.

    256 interpolated segments to the quarter turn over the phase's 18 leading bits.
    Largest absolute error 8.4e-5.
    """
    phase = np.asarray(phase, np.int64) & 0xFFFFFFFF
    quadrant, position = phase >> 30, (phase >> 14) & 0xFFFF
    position = np.where(quadrant & 1, (1 << 16) - position, position)
    base, step = sine_table()
    inside = np.minimum(position, (1 << 16) - 1)
    segment, fraction = inside >> 8, inside & 255
    y = base[segment] + round_shift(step[segment] * fraction, 8)
    y = np.where(position == 1 << 16, 1 << 14, y)
    return np.where(quadrant >= 2, -y, y)


def sine_cosine(positions, increments):
    """``sin`` and ``cos`` of ``positions[:, None] * increments`` (2**-32 turns), in 2**-14."""
    phase = np.asarray(positions, np.int64)[:, None] * np.asarray(increments, np.int64)
    return sine(phase), sine(phase + (1 << 30))
