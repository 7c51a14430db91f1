"""Scalings of the rotary frequencies, for contexts longer than the trained one."""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["LinearScaling", "RopeScaling"]


@dataclass(frozen=True)
class RopeScaling:
    """Llama-3's scaling of the rotary frequencies, for contexts longer than the trained one.

    With ``wavelength = 2 * pi / frequency``, a frequency is divided by ``factor`` where the
    wavelength exceeds ``original_seq_len / low_freq_factor``, kept where it is below
    ``original_seq_len / high_freq_factor``, and blended linearly in ``1 / wavelength`` between.

    Parameters
    ----------
    factor : float, at least 1
    low_freq_factor, high_freq_factor : float, ``0 < low_freq_factor < high_freq_factor``
    original_seq_len : int, at least 1

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_seq_len: int

    def __post_init__(self):
        if not (math.isfinite(self.factor) and self.factor >= 1):
            raise ValueError(f"factor must be at least 1, not {self.factor!r}")
        if not 0 < self.low_freq_factor < self.high_freq_factor < math.inf:
            raise ValueError(
                "low_freq_factor and high_freq_factor must be positive and in this order, not "
                f"{self.low_freq_factor!r} and {self.high_freq_factor!r}"
            )
        if self.original_seq_len < 1:
            raise ValueError(f"original_seq_len must be at least 1, not {self.original_seq_len!r}")

    def scale(self, frequencies):
        """The scaled frequencies, radians per position, for ``frequencies`` float64[n]."""
        turns = frequencies * self.original_seq_len / (2 * math.pi)
        span = self.high_freq_factor - self.low_freq_factor
        kept = np.clip((turns - self.low_freq_factor) / span, 0.0, 1.0)
        return frequencies * (kept + (1.0 - kept) / self.factor)


@dataclass(frozen=True)
class LinearScaling:
    """Every frequency divided by ``factor``.

    Parameters
    ----------
    factor : float, greater than 0

    Raises
    ------
    ValueError
        If it is out of range.
    """

    factor: float

    def __post_init__(self):
        if not 0 < self.factor < math.inf:
            raise ValueError(f"factor must be greater than 0, not {self.factor!r}")

    def scale(self, frequencies):
        """The scaled frequencies, radians per position, for ``frequencies`` float64[n]."""
        return frequencies / self.factor
