"""Matrices that were rounded before: codes, and the scales and offsets of groups of columns."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.quantization.group_quantize import (
    group_quantize,
    group_starts,
    integer_groups,
)

__all__ = ["Coded", "row_steps"]


@dataclass(frozen=True, eq=False)
class Coded:
    """``weight[r, c] = codes[r, c] * scales[r, g] + offsets[r, g]``, ``g = groups[c]``.

    Parameters
    ----------
    codes : int8[rows, columns]
    groups : int64[columns]
        Each column's group; they do not decrease.
    scales : float32[rows, groups]
        0 or more.
    offsets : float32[rows, groups], or None for none
    name : str
        Of the weight, for messages.
    """

    codes: np.ndarray
    groups: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray | None = None
    name: str = "weight"

    def float32(self):
        """The weight: float32[rows, columns]."""
        out = self.codes.astype(np.float32) * self.scales[:, self.groups]
        return out if self.offsets is None else out + self.offsets[:, self.groups]

    def rows(self, order):
        """Some rows, in an order."""
        offsets = None if self.offsets is None else self.offsets[order]
        return Coded(self.codes[order], self.groups, self.scales[order], offsets, self.name)

    @classmethod
    def of(cls, weight, width, scheme, columns, name="weight"):
        """``weight`` float32[rows, n] rounded to the nearest, in the groups of ``scheme``.

        ``columns`` are the places of its columns in a padded vector, and the size of that.
        """
        places, size = columns
        if not scheme.group:
            step = row_steps(weight, width)
            codes = np.round(weight / np.where(step > 0, step, 1.0)[:, None].astype(np.float32))
            scales = step[:, None].astype(np.float32)
            return cls(codes.astype(np.int8), np.zeros(len(places), np.int64), scales, None, name)
        placed = np.zeros((len(weight), size), np.float32)
        placed[:, places] = weight
        codes, groups, step = group_quantize(placed, width, scheme.group, scheme.offset_bits(width))
        scales, offsets = (
            None if part is None else (part * step[:, None]).astype(np.float32)
            for part in (groups.scales, groups.offsets)
        )
        of_columns = np.searchsorted(groups.starts, places, "right") - 1
        return cls(codes[:, places], of_columns, scales, offsets, name)

    def placed(self, width, scheme, columns, rows):
        """As :func:`celosia.reference.quantization.matrix.rounded` gives it, with these codes.

        Raises
        ------
        ValueError
            If the machine cannot hold them.
        """
        half = 1 << (width - 1)
        if self.codes.max(initial=0) >= half or self.codes.min(initial=0) < -half:
            raise ValueError(f"{self.name}: its codes have more than {width} bits (weight_width)")
        if self.offsets is not None and self.offsets.any() and not self._offsets_fit(width, scheme):
            raise ValueError(
                f"{self.name}: its codes have offsets, which weights of {width} bits have only in "
                "groups (group_size) and below 8 bits"
            )
        row_places, n_rows = rows
        codes = np.zeros((n_rows, columns[1]), np.int8)
        codes[np.ix_(row_places, columns[0])] = self.codes
        step = np.zeros(n_rows)
        if not scheme.group:
            self._of_one_group(self.groups, "a row (group_size=0)")
            step[row_places] = self.scales[:, self.groups[0]]
            return codes, None, step, row_places
        starts = group_starts(columns[1], scheme.group)
        of_columns = np.searchsorted(starts, columns[0], "right") - 1
        scales = np.zeros((n_rows, len(starts)))
        bases = np.zeros((n_rows, len(starts)))
        for group in np.unique(of_columns):
            text = f"a group of {scheme.group} (group_size)"
            own = self._of_one_group(self.groups[of_columns == group], text)
            scales[row_places, group] = self.scales[:, own]
            if self.offsets is not None:
                bases[row_places, group] = self.offsets[:, own]
        groups, step = integer_groups(starts, scales, bases, scheme.offset_bits(width))
        return codes, groups, step, row_places

    def _offsets_fit(self, width, scheme):
        return bool(scheme.group) and scheme.has_offsets(width)

    def _of_one_group(self, groups, place):
        """The only one of ``groups``."""
        if groups[0] != groups[-1]:
            raise ValueError(f"{self.name}: {place} spans groups of columns that differ in scale")
        return groups[0]

    @classmethod
    def joined(cls, parts):
        """Rows of several below each other, which have the same groups."""
        first = parts[0]
        if any(not np.array_equal(part.groups, first.groups) for part in parts):
            raise ValueError(f"{first.name} and what is beside it differ in their groups")
        offsets = None
        if any(part.offsets is not None for part in parts):
            zero = np.zeros_like
            every = [zero(p.scales) if p.offsets is None else p.offsets for p in parts]
            offsets = np.concatenate(every)
        codes, scales = (
            np.concatenate([getattr(p, n) for p in parts]) for n in ("codes", "scales")
        )
        name = "+".join(part.name for part in parts)
        return cls(codes, first.groups, scales, offsets, name)


def row_steps(weight, width):
    """One scale for each row: the largest magnitude over ``2**(width - 1) - 1``, float64[rows]."""
    return np.abs(weight).max(axis=1).astype(np.float64) / ((1 << (width - 1)) - 1)
