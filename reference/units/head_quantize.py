"""Queries, keys and values in few bits: one step for each head of each token."""

import math

import numpy as np
from celosia.reference.arithmetic import bit_length, round_shift

__all__ = [
    "KV_WIDTHS",
    "MEAN_SHIFT",
    "OCTAVE",
    "STEP_SHIFT",
    "head_quantize",
    "least_steps",
    "logarithm",
    "logarithmic_reciprocals",
    "reciprocals",
    "value_quantize",
]

MEAN_SHIFT = 8  # a mean key is an int8 in units of 2**8 of the keys'
STEP_SHIFT = 7  # steps, 9 bits, times 2**7 serve as 16-bit scales
OCTAVE = 8  # logarithms of values' steps in an octave

#: Of codes of so many bits a head's least step, over its largest magnitude and in units of
#: ``2**(8 - width)``, times 2**14. The largest magnitude is 127.008, 31.45 or 7.474 least steps.
KV_WIDTHS = {8: 129, 6: 521, 4: 2192}


def reciprocals():
    """``round(2**14 / m)`` for m from 1 to 16 (0 for 0): int64[17]."""
    return np.array([0] + [round((1 << 14) / m) for m in range(1, 17)], np.int64)


def logarithmic_reciprocals():
    """``round(2**(14 - n / 8))`` for n from 0 to 7: int64[8]."""
    return np.array([round(2 ** (14 - n / OCTAVE)) for n in range(OCTAVE)], np.int64)


def logarithm(least):
    """The smallest ``n`` with ``2**(n / 8) >= least``, an int."""
    return math.ceil(OCTAVE * math.log2(max(least, 1)) - 1e-9)


def least_steps(x, width=8):
    """The least steps of heads ``x`` int16[..., head_dim]: int64[...], 1 to 274."""
    largest = np.abs(np.asarray(x, np.int64)).max(axis=-1)
    places = 22 - width
    return np.maximum((largest * KV_WIDTHS[width] + (1 << places) - 1) >> places, 1)


def head_quantize(x, width=8):
    """``round(x / step)`` for heads ``x`` int16[..., head_dim], and ``step`` int[...], 1 to 288.

    ``step = m * 2**e`` with m at most 16, in units of ``2**(8 - width)``, is the smallest of its
    kind that is not below the head's least one: its largest magnitude over a hair more than the
    largest code of ``width`` bits, 8, 6 or 4. Quotients are products with ``round(2**14 / m)``,
    rounded half up and limited to that code: 127, 31 or 7.
    """
    x = np.asarray(x, np.int64)
    least = least_steps(x, width)
    e = np.maximum(bit_length(least) - 4, 0)
    m = (least + (1 << e) - 1) >> e
    q = round_shift(x * reciprocals()[m][..., None], (22 - width + e)[..., None])
    most = (1 << (width - 1)) - 1
    return np.clip(q, -most, most), m << e


def value_quantize(x, width=8):
    """The same with steps ``2**(n / 8)``, of which ``n`` is given: int[...], 0 to 65.

    A softmax adds ``n`` to the score, so that a position's weight is multiplied by its step.
    """
    x = np.asarray(x, np.int64)
    least = least_steps(x, width)
    n = np.array([logarithm(step) for step in range(least.max(initial=0) + 1)])[least]
    reciprocal, e = logarithmic_reciprocals()[n % OCTAVE], n // OCTAVE
    q = round_shift(x * reciprocal[..., None], (22 - width + e)[..., None])
    most = (1 << (width - 1)) - 1
    return np.clip(q, -most, most), n
