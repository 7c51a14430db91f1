"""Matrices in integers: weights rounded and placed, their rows' scales as mantissas."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from celosia.reference.quantization.coded import Coded, row_steps
from celosia.reference.quantization.group_quantize import Groups, group_quantize

__all__ = [
    "Matrix",
    "ceil_log2",
    "linear",
    "mantissas",
    "recoded",
    "rounded",
    "scaled",
]

MOST_SHIFT = 64


@dataclass(eq=False)
class Matrix:
    """``y = integers() @ x * scale * 2**-shift``.

    Parameters
    ----------
    weight : int8[rows, columns]
        The codes on the tape.
    scale : uint16[rows]
    shift : int
    groups : Groups, or None
        What the codes are multiplied by, and offset with; None for nothing.
    """

    weight: np.ndarray
    scale: np.ndarray
    shift: int
    groups: Groups | None = None

    def integers(self, rows=slice(None)):
        """The weights of some ``rows`` in steps of their row: int[rows, columns]."""
        if self.groups is None:
            return self.weight[rows]
        return self.groups.integers(self.weight, rows)

    def of(self, rows):
        """The matrix of some ``rows``, a slice."""
        groups = self.groups
        if groups is not None:
            offsets = None if groups.offsets is None else groups.offsets[rows]
            groups = replace(groups, scales=groups.scales[rows], offsets=offsets)
        return replace(self, weight=self.weight[rows], scale=self.scale[rows], groups=groups)

    @cached_property
    def matrix(self):
        """The weights for products: float64[columns, rows]."""
        return self.integers().T.astype(np.float64)


def linear(weight, factor, scheme, columns, rows=None):
    """Round ``weight`` and place it; row scales times ``factor`` become mantissas."""
    codes = rounded(weight, scheme.weight_width, scheme, columns, rows)
    return scaled(recoded(codes, factor), factor)


def rounded(weight, width, scheme, columns, rows=None):
    """Codes of ``weight``, placed, their groups or None, the rows' steps, and the rows' places.

    A :class:`celosia.reference.quantization.coded.Coded` weight keeps its codes.
    """
    if isinstance(weight, Coded):
        n = len(weight.codes)
        return weight.placed(width, scheme, columns, rows or (np.arange(n), n))
    places, n_rows = rows or (np.arange(len(weight)), len(weight))
    placed = np.zeros((n_rows, columns[1]), np.float32)
    placed[np.ix_(places, columns[0])] = weight
    if scheme.group:
        bits = scheme.offset_bits(width)
        codes, groups, step = group_quantize(placed, width, scheme.group, bits)
        return codes, groups, step, places
    step = row_steps(placed, width)
    divisor = np.where(step > 0, step, 1.0)[:, None].astype(np.float32)
    return np.round(placed / divisor).astype(np.int8), None, step, places


def scaled(rounded, factor):
    """The :class:`Matrix` of rounded weights, its results times ``factor``, a number or rows'."""
    codes, groups, step, places = rounded
    scales = np.zeros(len(codes))
    scales[places] = step[places] * factor
    mantissa, shift = mantissas(scales)
    return Matrix(codes, np.where(scales > 0, np.maximum(mantissa, 1), 0), shift, groups)


def recoded(rounded, factor):
    """Rounded weights, those of small rows with coarser codes, for scales of ``step * factor``.

    A row whose scale is so much smaller than the largest that its mantissa would round worse than
    its codes did gets the next whole mantissa, and smaller codes. So its scale is exact; it loses a
    bit of its codes for each that it is below the least mantissa, 2**-16 of the largest.
    """
    codes, groups, step, places = rounded
    scales = np.zeros(len(codes))
    scales[places] = step[places] * factor
    exact = scales * 2.0 ** mantissas(scales)[1]
    largest = max(int(codes.max(initial=1)), -int(codes.min(initial=0)))
    (few,) = np.nonzero((exact > 0) & (exact < 2 * largest))
    if not len(few):
        return rounded
    ratio = exact[few] / np.ceil(exact[few])
    step = step.copy()
    step[few] /= ratio
    if groups is None:
        codes = codes.copy()
        codes[few] = np.round(codes[few] * ratio[:, None])
    else:
        groups = groups.smaller(few, ratio[:, None])
    return codes, groups, step, places


def mantissas(values):
    """``values`` as uint16 mantissas times ``2**-shift``, the largest from 2**15 to 2**16 - 1.

    ``shift`` is at most 64: smaller ones are next to nothing in any unit.
    """
    largest = np.max(values)
    shift = MOST_SHIFT
    if largest > 0:
        shift = min(15 - math.floor(math.log2(largest)), MOST_SHIFT)
    if round(float(largest) * 2.0**shift) > 65535:
        shift -= 1
    return np.round(np.asarray(values) * 2.0**shift).astype(np.int64), shift


def ceil_log2(x):
    """The least power of two that is no less than ``x``, its exponent."""
    return math.ceil(math.log2(float(x)))
