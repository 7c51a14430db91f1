"""Weights with a scale, and an offset, for each group of columns: the form of Q8_0, Q4_0 and Q4_1.

Within a row the groups' scales and offsets are small integers times the row's step, so that a row's
dot product stays one integer.
"""

from dataclasses import dataclass

import numpy as np

__all__ = [
    "OFFSET_WIDTH",
    "SCALE_WIDTH",
    "Groups",
    "group_grid",
    "group_quantize",
    "group_starts",
    "integer_groups",
]

SCALE_WIDTH = 8  # bits of a group's scale, unsigned
OFFSET_WIDTH = 12  # bits of a group's offset, signed, in steps; if it has fewer, in larger ones


@dataclass(frozen=True)
class Groups:
    """A matrix's groups: ``weight[r, c] = codes[r, c] * scales[r, g] + offsets[r, g]`` steps.

    Parameters
    ----------
    starts : int64[groups]
        The first column of each group.
    scales : uint8[rows, groups]
    offsets : int16[rows, groups], or None for none
    unit : int
        Of which offsets are multiples.
    """

    starts: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray | None
    unit: int = 1

    def integers(self, codes, rows=slice(None)):
        """The weights of some ``rows``, in steps of their row: int32[rows, columns]."""
        codes = codes[rows]
        sizes = np.diff(np.append(self.starts, codes.shape[-1]))
        out = codes * np.repeat(self.scales[rows].astype(np.int32), sizes, axis=-1)
        if self.offsets is not None:
            out += np.repeat(self.offsets[rows], sizes, axis=-1)
        return out

    def smaller(self, rows, ratio):
        """Groups with the scales and offsets of some ``rows`` times ``ratio`` [rows, 1]."""
        scales = self.scales.copy()
        scales[rows] = np.round(scales[rows] * ratio)
        offsets = self.offsets
        if offsets is not None:
            offsets = offsets.copy()
            offsets[rows] = np.round(offsets[rows] * ratio / self.unit) * self.unit
        return Groups(self.starts, scales, offsets, self.unit)


def group_starts(columns, group):
    """The first columns of the groups of ``group``; a remainder joins the last: int64[groups].

    Raises
    ------
    ValueError
        If there are fewer columns than a group has.
    """
    if columns < group:
        raise ValueError(f"a group of {group} weights does not fit a row of {columns}")
    return np.arange(columns // group) * group


def group_quantize(weight, width, group, offset_width):
    """Round ``weight`` float32[rows, columns]: codes int8[rows, columns], :class:`Groups`, and
    the rows' steps float64[rows].

    Offsets have ``offset_width`` bits, 8 to 12; 0 for none.

    Each group takes the rule that loses least of those by which GGUF files are made, so that
    weights that come from such a file, in its groups, keep the file's codes:

    - without offsets, as Q8_0: the scale is the largest magnitude over ``2**(width - 1) - 1``;
    - with them, as Q4_1: codes spread from the group's minimum to its maximum; or as Q4_0: the
      value of the largest magnitude has the outermost code. Of the second a negative scale is
      mirrored, for which its codes need an offset of one scale.

    Raises
    ------
    ValueError
        If a row is shorter than a group.
    """
    starts = group_starts(weight.shape[1], group)
    codes, scales, bases = group_grid(weight, width, starts, bool(offset_width))
    return codes, *integer_groups(starts, scales, bases, offset_width)


def group_grid(weight, width, starts, offsets):
    """Codes int8[rows, columns], scales and offsets float64[rows, groups], by those rules."""
    (rows, _), body = weight.shape, len(starts) - 1
    cut = starts[-1]
    parts = [weight[:, :cut].reshape(rows, body, -1)] if body else []
    parts.append(weight[:, None, cut:])
    rule = _with_offsets if offsets else _symmetric
    codes, scales, bases = zip(
        *(rule(part.astype(np.float64), width) for part in parts), strict=True
    )
    codes = np.concatenate([c.reshape(rows, -1) for c in codes], axis=1).astype(np.int8)
    return codes, np.concatenate(scales, axis=1), np.concatenate(bases, axis=1)


def integer_groups(starts, scales, bases, offset_width):
    """Scales and offsets float64[rows, groups] as the machine has them.

    Offsets of ``offset_width`` bits, 0 for none, are multiples of ``2**(12 - offset_width)`` steps.

    Returns
    -------
    Groups, float64[rows]
        And the rows' steps.
    """
    step = scales.max(axis=1) / ((1 << SCALE_WIDTH) - 1)
    unit = 1 << (OFFSET_WIDTH - offset_width) if offset_width else 1
    most = unit * ((1 << (OFFSET_WIDTH - 1)) // unit - 1)
    step = np.maximum(step, np.abs(bases).max(axis=1) / most)
    divisor = np.where(step > 0, step, 1.0)[:, None]
    scales = np.round(scales / divisor).astype(np.uint8)
    offsets = (unit * np.round(bases / divisor / unit)).astype(np.int16)
    return Groups(starts, scales, offsets if offset_width else None, unit), step


def _symmetric(x, width):
    """Codes, scales, and offsets of zero, for groups ``x`` float64[rows, groups, columns]."""
    scale = np.abs(x).max(axis=-1) / ((1 << (width - 1)) - 1)
    return _codes(x, scale, 0.0 * scale, width), scale, 0.0 * scale


def _with_offsets(x, width):
    half = 1 << (width - 1)
    low, high = x.min(axis=-1), x.max(axis=-1)
    spread = (high - low) / (2 * half - 1)
    candidates = [(spread, low + half * spread)]
    outermost = np.where(np.abs(low) >= np.abs(high), low, high) / -half
    candidates.append((np.abs(outermost), np.where(outermost < 0, -outermost, 0.0)))
    best = None
    for scale, base in candidates:
        codes = _codes(x, scale, base, width)
        loss = ((codes * scale[..., None] + base[..., None] - x) ** 2).sum(axis=-1)
        if best is None:
            best = [codes, scale, base, loss]
            continue
        better = loss < best[3]
        for old, new in zip(best, (codes, scale, base, loss), strict=True):
            old[better] = new[better]
    return best[:3]


def _codes(x, scale, base, width):
    half = 1 << (width - 1)
    steps = (x - base[..., None]) / np.where(scale > 0, scale, 1.0)[..., None]
    return np.clip(np.round(steps), -half, half - 1)
