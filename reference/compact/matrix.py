"""The compact machine's matrices: codes of 4 or 8 bits or ternary, one of 16 scales a row."""

import math
from dataclasses import dataclass

import numpy as np
from celosia.reference.compact.tables import scale_values

__all__ = ["CONSTANTS", "CompactMatrix", "fit", "fit_ternary"]

CONSTANTS = np.array([127, 127, 16, 1])  # bytes by which a bias is multiplied
TYPICAL = 32  # of the bytes by which weights are multiplied


@dataclass(eq=False)
class CompactMatrix:
    """``codes * scale_values()[scale] * 2**-shift``.

    Parameters
    ----------
    codes : int8[rows, columns], -8 to 7, or -128 to 127, or -1 to 1
    scale : int64[rows], 0 to 15
    shift : int, 0 to 15, beyond what the operation has of its own
    """

    codes: np.ndarray
    scale: np.ndarray
    shift: int


def fit(weight, factor, base=0, bias=None, most=None, width=4):
    """Codes of ``width`` bits, a scale for each row, of ``weight`` times ``factor``, one or rows'.

    Of the 16 scales each row takes the one with the least squared error. ``bias`` float64[rows]
    becomes four columns more, for ``CONSTANTS``. The shift is ``most`` at most, ``base`` included.
    """
    wanted = weight.astype(np.float64) * np.reshape(factor, (-1, 1))
    values = scale_values()
    top = (1 << width - 1) - 1
    largest = max(np.abs(wanted).max(initial=0.0) / top, 1e-30)
    if bias is not None:
        reach = CONSTANTS @ np.full(len(CONSTANTS), top)
        largest = max(largest, np.abs(bias).max() / reach)
    shift = math.floor(math.log2(values[-1] / largest))
    shift = shift if most is None else min(shift, most)
    columns = wanted.shape[1] + (0 if bias is None else len(CONSTANTS))
    best = np.full(len(wanted), np.inf)
    codes, scale = np.zeros((len(wanted), columns), np.int8), np.zeros(len(wanted), np.int64)
    for code, value in enumerate(values * 2.0**-shift):
        rounded = np.clip(np.round(wanted / value), -top - 1, top)
        error = ((rounded * value - wanted) ** 2).sum(axis=1)
        if bias is not None:
            digits = _digits(bias / value, top)
            error += ((digits @ CONSTANTS * value - bias) / TYPICAL) ** 2
            rounded = np.hstack([rounded, digits])
        better = error < best
        best = np.where(better, error, best)
        codes[better], scale[better] = rounded[better], code
    return CompactMatrix(codes, scale, shift - base)


def fit_ternary(weight, factor, base=0):
    """Codes -1 to 1 and the nearest scale of each row of ``weight`` times ``factor``.

    Raises
    ------
    ValueError
        If a row has others than -s, 0 and s.
    """
    wanted = weight.astype(np.float64) * np.reshape(factor, (-1, 1))
    size = np.abs(wanted).max(axis=1, keepdims=True)
    size = np.where(size == 0, size.max(initial=1e-30), size)
    codes = np.round(wanted / size)
    if not np.allclose(codes * size, wanted, rtol=0, atol=1e-3 * size.min()):
        raise ValueError("has a row of weights that are not -s, 0 and s: they are not ternary")
    values = scale_values()
    shift = math.floor(math.log2(values[-1] / size.max()))
    octaves = np.log2(values) - np.log2(size * 2.0**shift)
    scale = np.abs(octaves).argmin(axis=1)
    return CompactMatrix(codes.astype(np.int8), scale, shift - base)


def _digits(bias, top):
    """Codes [rows, 4], at most ``top``, whose products with ``CONSTANTS`` are nearly ``bias``."""
    high = np.clip(np.round(bias / 127), -2 * top - 2, 2 * top)
    rest = bias - 127 * high
    middle = np.clip(np.round(rest / 16), -top - 1, top)
    low = np.clip(np.round(rest - 16 * middle), -top - 1, top)
    return np.stack([high // 2, high - high // 2, middle, low], axis=1)
