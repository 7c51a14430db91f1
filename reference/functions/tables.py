"""The tables behind the functions: built once here, read by the reference and by the RTL alike.

Each is a list of integers (or base and slope lists for linear interpolation) with a stated format.
"""

import functools
import math

import numpy as np

__all__ = [
    "GATING_REACH",
    "exp2_table",
    "gating_table",
    "gumbel_table",
    "interpolation",
    "power_table",
    "reciprocal_table",
    "rsqrt_table",
    "sine_table",
]


def interpolation(f, low, high, n, one):
    """``n`` segments of ``f`` on [low, high): integer bases ``round(f * one)`` and differences."""
    points = np.round(f(np.linspace(low, high, n + 1)) * one).astype(np.int64)
    return points[:-1], np.diff(points)


@functools.cache
def rsqrt_table():
    """``1 / sqrt(u)`` for u in [1/4, 1), 192 segments of 1/256, in units of 2**-15."""
    return interpolation(lambda u: 1 / np.sqrt(u), 0.25, 1.0, 192, 1 << 15)


@functools.cache
def reciprocal_table():
    """``1 / u`` for u in [1/2, 1), 128 segments of 1/256, in units of 2**-15."""
    return interpolation(lambda u: 1 / u, 0.5, 1.0, 128, 1 << 15)


#: activation ``x * s(x)``: the power of two from which on ``s`` counts as 1
GATING_REACH = {"silu": 4, "gelu": 3, "gelu_tanh": 3}


@functools.cache
def gating_table(activation):
    """``s(a)`` for a in [0, 2**reach), 512 segments, in units of 2**-16.

    ``s`` is the logistic function for "silu", the normal distribution for "gelu", and for
    "gelu_tanh" its approximation by tanh.
    """
    return interpolation(_GATING[activation], 0.0, 2.0 ** GATING_REACH[activation], 512, 1 << 16)


_GATING = {
    "silu": lambda a: 1 / (1 + np.exp(-a)),
    "gelu": lambda a: np.array([1 + math.erf(x / math.sqrt(2)) for x in a]) / 2,
    "gelu_tanh": lambda a: (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))) / 2,
}


@functools.cache
def sine_table():
    """``sin`` over a quarter turn, 256 segments, in units of 2**-14."""
    return interpolation(lambda turn: np.sin(2 * np.pi * turn), 0.0, 0.25, 256, 1 << 14)


@functools.cache
def exp2_table():
    """``127 * 2**(-f / 256)`` for f from 0 to 255, in units of 2**-8."""
    return np.round(127 * 256 * 2.0 ** (-np.arange(256) / 256)).astype(np.int64)


@functools.cache
def power_table():
    """``2**f`` for f in [0, 1), 128 segments, in units of 2**-15."""
    return interpolation(np.exp2, 0.0, 1.0, 128, 1 << 15)


@functools.cache
def gumbel_table():
    """Gumbel quantiles ``-ln(-ln(1 - v))`` in units of 2**-11, int64[16, 64].

    Row ``z``, column ``m``: the middle of the interval of v whose ``z`` leading zeros are followed
    by a one and then the 6 bits of ``m``. Row 15 serves all smaller v too: there each further zero
    adds ``ln 2``, which :func:`celosia.reference.units.sampler.gumbel` does.
    """
    z, m = np.arange(16)[:, None], np.arange(64)[None, :]
    v = 2.0 ** (-z - 1) * (1 + (m + 0.5) / 64)
    return np.round(-np.log(-np.log1p(-v)) * 2048).astype(np.int64)
