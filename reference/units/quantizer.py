"""Quantisers: scales measured or given, with and without zero points, and the way back."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate
from celosia.reference.functions.functions import reciprocal

__all__ = ["SCALE_FRACTION", "dequantize", "dynamic_quantize", "limits", "static_quantize"]

SCALE_FRACTION = 8  # scales are in units of 2**-8 of what is quantised


def limits(width, symmetric):
    """The least and the largest quantised value: -127 ... 127, or 0 ... 255 with zero points."""
    if symmetric:
        return 1 - (1 << (width - 1)), (1 << (width - 1)) - 1
    return 0, (1 << width) - 1


def dynamic_quantize(x, width=8, symmetric=True):
    """``q = clamp(round(x / s) + zero_point)`` with a scale ``s`` for each vector ``x[..., n]``.

    ``s = scale * 2**-8`` is hardly more than the range divided by the steps: than
    ``max|x| / (2**(width - 1) - 1)``, or ``(max(x, 0) - min(x, 0)) / (2**width - 1)`` with zero
    points. Quotients are products with the reciprocal of the scale, rounded half up;
    ``zero_point = round(-min(x, 0) / s)`` and 0 without.

    Returns
    -------
    q, scale, zero_point : int64[..., n], int64[...], int64[...]
        ``x`` is about ``(q - zero_point) * scale * 2**-8``.
    """
    x = np.asarray(x, np.int64)
    low, high = limits(width, symmetric)
    least = np.minimum(x.min(axis=-1), 0)
    extent = np.abs(x).max(axis=-1) if symmetric else np.maximum(x.max(axis=-1), 0) - least
    factor, bits = scale_factor(high)
    scale = np.maximum((extent * factor + (1 << bits) - 1) >> bits, 1)
    mantissa, shift = reciprocal(scale)
    shift = 15 - SCALE_FRACTION + shift
    zero_point = np.zeros_like(scale)
    if not symmetric:
        zero_point = np.minimum(round_shift(-least * mantissa, shift), high)
    q = round_shift(x * mantissa[..., None], shift[..., None]) + zero_point[..., None]
    return np.clip(q, low, high), scale, zero_point


def scale_factor(steps):
    """``factor, bits``: a scale is ``ceil(extent * factor / 2**bits)`` for a range of ``steps``."""
    exponent = 15 + steps.bit_length()
    return -(-(1 << exponent) // steps), exponent - SCALE_FRACTION


def static_quantize(x, multiplier, shift, width=8, zero_point=None):
    """``clamp(round(x * multiplier / 2**shift) + zero_point)``, rounded half up.

    ``multiplier`` and ``zero_point`` are broadcast over ``x``: one for the tensor, one for each
    channel, or repeated over the channels of a group.
    """
    low, high = limits(width, zero_point is None)
    offset = 0 if zero_point is None else np.asarray(zero_point, np.int64)
    q = round_shift(np.asarray(x, np.int64) * np.asarray(multiplier, np.int64), shift)
    return np.clip(q + offset, low, high)


def dequantize(acc, scale, shift, zero_point=0, sums=0, width=24):
    """``sum((acc - zero_point * sums) * scale) / 2**shift`` over the groups, rounded half up.

    ``acc`` int[groups, ...] are the dot products of the groups. With activations that have a zero
    point, ``sums`` are those of the weights; with weights that have one, of the activations.
    Saturates to ``width`` bits.
    """
    corrected = np.asarray(acc, np.int64) - np.asarray(zero_point, np.int64) * sums
    total = (corrected * scale).sum(axis=0)
    return saturate(round_shift(total, shift), width)
