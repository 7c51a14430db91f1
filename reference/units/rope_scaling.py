"""Scalings of the rotary frequencies, for contexts longer than the trained one."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

__all__ = ["LinearScaling", "LongScaling", "RopeScaling", "YarnScaling"]


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

    attention_factor: ClassVar[float] = 1.0

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

    def scale(self, frequencies, theta):
        """Scaled ``theta ** (-i / n)``, float64[n]: radians per position."""
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

    attention_factor: ClassVar[float] = 1.0

    factor: float

    def __post_init__(self):
        if not 0 < self.factor < math.inf:
            raise ValueError(f"factor must be greater than 0, not {self.factor!r}")

    def scale(self, frequencies, theta):
        """Scaled ``theta ** (-i / n)``, float64[n]: radians per position."""
        return frequencies / self.factor


@dataclass(frozen=True)
class YarnScaling:
    """YaRN's: frequencies of many turns in the trained context stay, of few are divided.

    Below pair ``low``, that of ``beta_fast`` turns, a frequency is kept, beyond ``high``, that of
    ``beta_slow``, it is divided by ``factor``, with a linear blend between. What is turned is
    multiplied by ``attention_factor`` too.

    Parameters
    ----------
    factor, original_seq_len, attention_factor, beta_fast, beta_slow : float, greater than 0
    truncate : bool
        Whether ``low`` and ``high`` are whole numbers.
    """

    factor: float
    original_seq_len: float
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def scale(self, frequencies, theta):
        """As of the others; raises ValueError if theta is not above 1."""
        if theta <= 1:
            raise ValueError(f"rope_theta must be above 1 with yarn, not {theta:g}")
        n = len(frequencies)
        turns = self.original_seq_len / (2 * math.pi)
        low, high = (n * math.log(turns / b, theta) for b in (self.beta_fast, self.beta_slow))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * n - 1)
        ramp = (np.arange(n) - low) / (high - low if high != low else 1e-3)
        divided = np.clip(ramp, 0.0, 1.0)
        return frequencies * (1.0 - divided + divided / self.factor)


@dataclass(frozen=True)
class LongScaling:
    """LongRoPE's within the trained context: each frequency over its own of ``factors``.

    What is turned is multiplied by ``attention_factor`` too.
    """

    factors: tuple
    original_seq_len: int
    attention_factor: float

    def scale(self, frequencies, theta):
        """As of the others; raises ValueError unless there is a factor for each frequency."""
        if len(self.factors) != len(frequencies):
            n = len(frequencies)
            raise ValueError(f"short_factor must have {n} values, not {len(self.factors)}")
        return frequencies / np.array(self.factors)
