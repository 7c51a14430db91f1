"""Embed: a token's row of a table, and a position's."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.quantization.digits import digits
from celosia.reference.quantization.matrix import Matrix, recoded, scaled
from celosia.reference.units.scale import scale

__all__ = ["Embed", "IntegerEmbed"]


@dataclass(frozen=True)
class Embed:
    """``out = factor * table[token]``, and ``+ positions[position + offset]`` where there is one.

    Parameters
    ----------
    out, table : str
    factor : float
    positions : str, optional
        The table of learned positions, float32[rows, size].
    offset : int
    rows : int
        Of ``positions``.
    """

    out: str
    table: str
    factor: float = 1.0
    positions: str | None = None
    offset: int = 0
    rows: int = 0

    def shapes(self, sizes):
        shapes = {self.table: (sizes["logits"], sizes[self.out])}
        if self.positions:
            shapes[self.positions] = (self.rows, sizes[self.out])
        return shapes

    def run(self, p):
        x = p.tensor(self.table)[p.tokens]
        if self.factor != 1.0:
            x = x * np.float32(self.factor)
        if self.positions:
            x = x + p.tensor(self.positions)[p.positions + self.offset]
        p.write(self.out, x)

    def demand(self, q):
        pass

    def quantize(self, q):
        unit = q.want(self.out)
        if q.scheme.ternary and not q.scheme.wide_head:
            return self._digits(q, unit)
        table = self._table(q, self.table, unit * self.factor)
        positions = self._table(q, self.positions, unit) if self.positions else None
        return IntegerEmbed(self.out, self.table, table, self.positions, positions, self.offset)

    def _digits(self, q, unit):
        """Tables of ternary digits, one after the other."""
        if self.positions:
            raise ValueError(f"{self.positions}: ternary weights go without learned positions")
        first, *rest = digits(q.tensor(self.table), unit * self.factor, q.scheme)
        return IntegerEmbed(self.out, self.table, first, digits=tuple(rest))

    def _table(self, q, name, factor):
        """A tied table keeps the codes that the head has."""
        tied = any(getattr(op, "weight", None) == name for op in q.description.end)
        return scaled(q.table(name) if tied else recoded(q.table(name), factor), factor)


@dataclass(eq=False)
class IntegerEmbed:
    """Rows of :class:`Matrix` ``table``, and of ``positions``, in units of the residual.

    ``digits`` are further tables, whose rows are added.
    """

    out: str
    name: str
    table: Matrix
    positions_name: str | None = None
    positions: Matrix | None = None
    offset: int = 0
    digits: tuple = ()

    def run(self, p):
        x = self._rows(p, self.table, p.tokens)
        for table in self.digits:
            x = p.saturated(x + self._rows(p, table, p.tokens))
        if self.positions is not None:
            x = p.saturated(x + self._rows(p, self.positions, p.positions + self.offset))
        p.write(self.out, x)

    def _rows(self, p, table, rows):
        scales, codes = table.scale[rows][:, None], table.integers(rows)
        p.count_limited(codes, table.shift)
        return scale(codes, scales, table.shift, width=p.width)
