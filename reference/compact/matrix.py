"""The compact machine's matrices: codes of 4 bits, one of 16 scales for each row."""

import math
from dataclasses import dataclass

import numpy as np
from celosia.reference.compact.tables import scale_values

__all__ = ["CONSTANTS", "CompactMatrix", "fit"]

CONSTANTS = np.array([127, 127, 16, 1])  # bytes by which a bias is multiplied
REACH = 127 * 14 + 16 * 7 + 7  # what four codes can make of these
TYPICAL = 32  # of the bytes by which weights are multiplied


@dataclass(eq=False)
class CompactMatrix:
    """``codes * scale_values()[scale] * 2**-shift``.

    Parameters
    ----------
    codes : int8[rows, columns], -8 to 7
    scale : int64[rows], 0 to 15
    shift : int, 0 to 15, beyond what the operation has of its own
    """

    codes: np.ndarray
    scale: np.ndarray
    shift: int


def fit(weight, factor, base=0, bias=None, most=None):
    """4-bit codes and a scale for each row of ``weight`` times ``factor``, a number or rows'.

    Of the 16 scales each row takes the one with the least squared error. ``bias`` float64[rows]
    becomes four columns more, for ``CONSTANTS``. The shift is ``most`` at most, ``base`` included.
    """
    wanted = weight.astype(np.float64) * np.reshape(factor, (-1, 1))
    values = scale_values()
    largest = max(np.abs(wanted).max(initial=0.0) / 7, 1e-30)
    if bias is not None:
        largest = max(largest, np.abs(bias).max() / REACH)
    shift = math.floor(math.log2(values[-1] / largest))
    shift = shift if most is None else min(shift, most)
    columns = wanted.shape[1] + (0 if bias is None else len(CONSTANTS))
    best = np.full(len(wanted), np.inf)
    codes, scale = np.zeros((len(wanted), columns), np.int8), np.zeros(len(wanted), np.int64)
    for code, value in enumerate(values * 2.0**-shift):
        rounded = np.clip(np.round(wanted / value), -8, 7)
        error = ((rounded * value - wanted) ** 2).sum(axis=1)
        if bias is not None:
            digits = _digits(bias / value)
            error += ((digits @ CONSTANTS * value - bias) / TYPICAL) ** 2
            rounded = np.hstack([rounded, digits])
        better = error < best
        best = np.where(better, error, best)
        codes[better], scale[better] = rounded[better], code
    return CompactMatrix(codes, scale, shift - base)


def _digits(bias):
    """Codes [rows, 4] whose products with ``CONSTANTS`` are nearly ``bias``."""
    high = np.clip(np.round(bias / 127), -16, 14)
    rest = bias - 127 * high
    middle = np.clip(np.round(rest / 16), -8, 7)
    low = np.clip(np.round(rest - 16 * middle), -8, 7)
    return np.stack([high // 2, high - high // 2, middle, low], axis=1)
