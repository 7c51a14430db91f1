"""Functions of one variable as tables of straight segments, the smallest that keep an error bound.

:data:`FUNCTIONS` names the usual ones; :func:`function_table` makes any other.
"""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from celosia.reference.arithmetic import round_shift

__all__ = ["FUNCTIONS", "FunctionTable", "function_table", "named"]


@dataclass(frozen=True, eq=False)
class FunctionTable:
    """``y = round((base[s] + round(slope[s] * fraction / 2**slope_shift)) / 2**guard) + offset``.

    ``x`` counts from ``low``: its leading bits are the segment ``s``, the ``fraction_width`` bits
    below them the fraction; an ``x`` outside of the range counts as its nearest end. Both roundings
    are half up.

    Parameters
    ----------
    low, high : int
        The range of ``x``, ``high`` not included; a power of two of values.
    x_fraction, y_fraction : int
        ``x`` is in units of ``2**-x_fraction``, ``y`` in units of ``2**-y_fraction``.
    base : int64[segments], not negative
    slope : int64[segments]
    fraction_width, slope_shift, guard, offset : int
    error : float
        The largest error for an ``x`` of the range, in units of ``y``.
    """

    low: int
    high: int
    x_fraction: int
    y_fraction: int
    base: np.ndarray
    slope: np.ndarray
    fraction_width: int
    slope_shift: int
    guard: int
    offset: int
    error: float

    @property
    def segments(self):
        """How many there are: a power of two."""
        return len(self.base)

    def __call__(self, x):
        """int64 ``y`` for integers ``x``."""
        place = np.clip(np.asarray(x, np.int64), self.low, self.high - 1) - self.low
        segment = place >> self.fraction_width
        fraction = place & ((1 << self.fraction_width) - 1)
        y = self.base[segment] + round_shift(self.slope[segment] * fraction, self.slope_shift)
        return round_shift(y, self.guard) + self.offset

    @property
    def base_width(self):
        """Bits of a base, and of the interpolated value."""
        fraction = (1 << self.fraction_width) - 1
        ends = self.base + round_shift(self.slope * fraction, self.slope_shift)
        return int(max(self.base.max(), ends.max(), 1)).bit_length()

    @property
    def slope_width(self):
        """Bits of a slope, its sign included."""
        return int(np.maximum(self.slope, ~self.slope).max()).bit_length() + 1

    @property
    def bits(self):
        """Bits of the table."""
        return self.segments * (self.base_width + self.slope_width)

    @functools.cached_property
    def y_range(self):
        """The smallest and the largest ``y``."""
        y = self(np.arange(self.low, self.high))
        return int(y.min()), int(y.max())


def function_table(f, low, high, x_fraction, y_fraction, bound):
    """The :class:`FunctionTable` of fewest bits whose every error is at most ``bound``.

    Every ``x`` is tried against ``f`` in float64, for every number of segments and all useful
    widths of base and slope.

    Parameters
    ----------
    f : callable(float64 array)
    low, high : int
        The range of ``x`` in units of ``2**-x_fraction``: 8 to 65536 values, a power of two.
    x_fraction, y_fraction : int
    bound : float, above 0.5
        In units of ``2**-y_fraction``: 0.5 is what the rounding alone costs.

    Raises
    ------
    ValueError
        If the range is no such power of two, ``f`` is not finite on it, or no table is good enough.
    """
    size = high - low
    if size not in (1 << k for k in range(3, 17)):
        raise ValueError(f"high - low must be a power of two from 8 to 65536, not {size!r}")
    with np.errstate(all="ignore"):
        exact = f(np.arange(low, high) / 2.0**x_fraction) * 2.0**y_fraction
    if not np.isfinite(exact).all():
        raise ValueError("f must be finite on the whole range")
    best = None
    for segment_width in range(1, size.bit_length() - 1):
        line = _lines(exact, 1 << segment_width)
        if line[2] > bound:
            continue
        for guard in range(6):
            for coarse in range(size.bit_length() - 2 - segment_width, -1, -1):
                table = _rounded(line, exact, low, x_fraction, y_fraction, guard, coarse)
                if table.error <= bound and (best is None or table.bits < best.bits):
                    best = table
        if best is not None and (2 << segment_width) * (best.base_width - 4) > best.bits:
            break
    if best is None:
        raise ValueError(f"bound must be above what a table can keep, not {bound!r}")
    return best


def _lines(exact, segments):
    """The middle line of each segment: its start and its rise per segment, and the largest error.

    Lines are parallel to their chords, and as far from the function above as below.
    """
    y = exact.reshape(segments, -1)
    t = np.arange(y.shape[1]) / y.shape[1]
    rise = (y[:, -1] - y[:, 0]) / t[-1]
    distance = y - rise[:, None] * t
    start = (distance.max(axis=1) + distance.min(axis=1)) / 2
    return start, rise, (distance.max(axis=1) - distance.min(axis=1)).max() / 2


def _rounded(line, exact, low, x_fraction, y_fraction, guard, coarse):
    """``line`` with ``guard`` bits below the result's, slopes in units of ``2**coarse`` of them."""
    start, rise, _ = line
    fraction_width = (len(exact) // len(start)).bit_length() - 1
    lowest = math.floor(min(start.min(), (start + rise).min())) - 1
    offset = min(lowest, 0)
    base = np.round((start - offset) * 2.0**guard).astype(np.int64)
    slope = np.round(rise * 2.0 ** (guard - coarse)).astype(np.int64)
    shift = fraction_width - coarse
    parts = (base, slope, fraction_width, shift, guard, offset)
    table = FunctionTable(low, low + len(exact), x_fraction, y_fraction, *parts, 0.0)
    y = table(np.arange(low, low + len(exact)))
    error = np.abs(y - exact).max() if y.min() >= offset else math.inf  # bases are unsigned
    return replace(table, error=float(error))


def _erf(x):
    return np.vectorize(math.erf)(x)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _gelu_tanh(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


#: name: function, low, high, x_fraction, y_fraction, bound in units of 2**-y_fraction
FUNCTIONS = {
    "exp": (lambda x: np.exp(-x), 0, 1 << 16, 12, 15, 1.0),  # of -x: powers from 1 downwards
    "sigmoid": (_sigmoid, -1 << 15, 1 << 15, 12, 15, 1.0),
    "silu": (lambda x: x * _sigmoid(x), -1 << 15, 1 << 15, 12, 12, 1.0),
    "gelu": (lambda x: x / 2 * (1 + _erf(x / math.sqrt(2))), -1 << 15, 1 << 15, 12, 12, 1.0),
    "gelu_tanh": (_gelu_tanh, -1 << 15, 1 << 15, 12, 12, 1.0),
    "tanh": (np.tanh, -1 << 15, 1 << 15, 12, 15, 1.0),
    "reciprocal": (lambda x: 1 / x, 1 << 15, 1 << 16, 16, 15, 1.0),  # of [1/2, 1)
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1 << 14, 5 << 14, 16, 15, 1.0),  # of [1/4, 5/4)
}


@functools.cache
def named(name):
    """The table of one of :data:`FUNCTIONS`.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in FUNCTIONS:
        raise ValueError(f"name must be one of {', '.join(FUNCTIONS)}, not {name!r}")
    return function_table(*FUNCTIONS[name])
