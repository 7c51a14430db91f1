"""The integer primitives that every unit's arithmetic is made of: shift, saturate, measure."""

import numpy as np

__all__ = [
    "bit_length",
    "magnitude_bits",
    "round_shift",
    "saturate",
    "saturations",
    "wrap_shift",
]


def round_shift(x, shift):
    """``floor(x / 2**shift + 1/2)``: rounds to nearest, halves towards plus infinity.

    ``x`` is int64, ``shift`` an int or an array of ints from 0 to 62; 0 leaves ``x`` as it is.
    """
    x = np.asarray(x, np.int64)
    shift = np.asarray(shift, np.int64)
    half = (np.int64(1) << shift) >> 1
    return (x + half) >> shift


def wrap_shift(x, shift):
    """``floor(x * 2**-shift)`` for shifts of either sign; int64."""
    x = np.asarray(x, np.int64)
    shift = np.asarray(shift, np.int64)
    return (x << np.clip(-shift, 0, 62)) >> np.clip(shift, 0, 63)


def saturate(x, width):
    """``x`` limited to the range of a signed number of ``width`` bits."""
    return np.clip(x, -(1 << (width - 1)), (1 << (width - 1)) - 1)


def saturations(x, width):
    """How many of ``x`` are the largest or smallest of ``width`` signed bits, or beyond them."""
    high = (1 << (width - 1)) - 1
    return int(np.count_nonzero((x >= high) | (x < -high)))


def bit_length(x):
    """The bits of ``x >= 0`` without leading zeros (0 for 0), exact up to 2**62; int64."""
    x = np.asarray(x, np.int64)
    high = x >> 31
    _, exponent_high = np.frexp(high.astype(np.float64))
    _, exponent_low = np.frexp((x & 0x7FFFFFFF).astype(np.float64))
    return np.where(high > 0, exponent_high + 31, exponent_low).astype(np.int64)


def magnitude_bits(x):
    """The bits that a block ``x[..., n]`` needs beside a sign: ``bit_length(or_i(x_i ^ sign_i))``.

    A block whose result is ``b`` fits signed numbers of ``b + 1`` bits.
    """
    x = np.asarray(x, np.int64)
    return bit_length(np.bitwise_or.reduce(x ^ (x >> 63), axis=-1))
