"""The compact machine's dot products: rows of columns, a beat in each cycle."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.arithmetic.pair_multiplier import PairMultiplier
from celosia.rtl.mac.dot_products import pairwise_sum
from celosia.rtl.mac.ternary_sum import TERMS, ternary_sums
from celosia.rtl.stream.pipeline import delayed

__all__ = ["CompactFabric"]

QUAD = 4  # columns that are added up before the totals
SPACING = 13  # bits from one row's sum of four products to that of the other
SMALL_ROWS = 3  # that six blocks of two products of bytes make, of four columns
SMALL = (4, 4, 4, 0), (2, 4, 8, 10)  # rows, columns, bits, rows of ternary weights with such blocks


class CompactFabric(wiring.Component):
    """``result[r] = sum over the beats of (weights[r] . x)``, of all rows; or one row of bytes.

    Where the chip has multiplier blocks a block makes a product of 8-bit weights, or those of two
    rows of 4-bit ones. ``small`` is for blocks of two products of bytes (iCE40 UltraPlus): those of
    rows 0 to 2 are made there, those of row 3 in logic. Exact as long as sums have ``acc_width``.
    Rows of ternary weights beyond those of blocks are additions and subtractions.

    Latency: the first result 4 cycles after the last beat (``small``: 3), the others one by one
    behind it, a cycle each as ``next`` moves them. Throughput 1 beat per cycle.

    Parameters
    ----------
    acc_width : int, 16 to 30
    rows, columns : int
        2, 4, 8 or 16; 4 or 8.
    weight_width : int, 4 or 8
    small : bool
        With the ``rows, columns, weight_width, ternary_rows`` of :data:`SMALL`.
    ternary_rows : int, 0 or more than ``rows``

    Members
    -------
    beat, last : In(1)
        A beat is there; it is the last one of its dot products.
    x : In(array of columns signed(8))
    weights : In(array of rows of columns signed(weight_width))
    trits : In(array of ternary_rows of columns signed(2))
        The weights of as many rows, while ``ternary``.
    ternary : In(1)
        With ternary rows.
    bytes : In(array of columns signed(8))
        In place of row 0's weights, while ``cached``.
    cached : In(1)
    done : Out(1)
        1 in the cycle before ``result`` is row 0's.
    next : In(1)
        Move on to the next row.
    result : Out(signed(acc_width))
    """

    def __init__(self, acc_width, rows=4, columns=4, weight_width=4, small=False, ternary_rows=0):
        if acc_width not in range(16, 31):
            raise ValueError(f"acc_width must be from 16 to 30, not {acc_width!r}")
        if rows not in (2, 4, 8, 16) or columns not in (4, 8) or weight_width not in (4, 8):
            raise ValueError(
                "rows must be 2, 4, 8 or 16, columns 4 or 8 and weight_width 4 or 8, not "
                f"{rows!r}, {columns!r} and {weight_width!r}"
            )
        if ternary_rows and ternary_rows not in range(rows + 1, 129):
            raise ValueError(
                f"ternary_rows must be 0 or from {rows + 1} to 128, not {ternary_rows!r}"
            )
        if small and (rows, columns, weight_width, ternary_rows) not in SMALL:
            raise ValueError(
                "small must be of four rows of four columns of 4 bits, or of two of 8 bits and "
                "ten ternary ones"
            )
        self.acc_width = acc_width
        self.rows = rows
        self.columns = columns
        self.weight_width = weight_width
        self.small = small
        self.ternary_rows = ternary_rows
        self.multiplied = SMALL_ROWS if small else rows  # rows that multiplier blocks have
        row = data.ArrayLayout(signed(weight_width), columns)
        octets = data.ArrayLayout(signed(8), columns)
        super().__init__(
            {
                "beat": In(1),
                "last": In(1),
                "x": In(octets),
                "weights": In(data.ArrayLayout(row, rows)),
                **self._ternary_ports(),
                "bytes": In(octets),
                "cached": In(1),
                "done": Out(1),
                "next": In(1),
                "result": Out(signed(acc_width)),
            }
        )

    def _ternary_ports(self):
        if not self.ternary_rows:
            return {}
        row = data.ArrayLayout(signed(2), self.columns)
        return {"trits": In(data.ArrayLayout(row, self.ternary_rows)), "ternary": In(1)}

    def elaborate(self, platform):
        m = Module()
        flags = Cat(self.beat, self.last, self.cached)
        stages = 2 if self.small else 3
        for stage in range(stages):
            later = Signal(3, name=f"flags_{stage}")
            m.d.sync += later.eq(flags)
            flags = later
        beat, last, cached = flags
        m.d.comb += self.done.eq(beat & last)
        if self.small:
            sums = [*self._small_sums(m)]
        else:
            sums = [*(self._sums(m) if self.weight_width == 8 else self._paired_sums(m, cached))]
        sums += self._ternary_sums(m, stages)
        totals = []
        for r, parts in enumerate(sums):
            total = Signal(signed(self.acc_width), name=f"total_{r}")
            so_far = Signal(signed(self.acc_width), name=f"acc_{r}")
            m.d.comb += total.eq(pairwise_sum(m, [*parts, so_far]))
            with m.If(beat):
                m.d.sync += so_far.eq(total)
            with m.If(self.done):
                m.d.sync += so_far.eq(0)
            totals.append(total)
        held = Signal(data.ArrayLayout(signed(self.acc_width), len(totals)))
        with m.If(self.next):
            m.d.sync += held.as_value().eq(held.as_value() >> self.acc_width)
        with m.If(self.done):
            m.d.sync += held.eq(Cat(totals))
        m.d.comb += self.result.eq(held[0])
        return m

    def _operand(self, m, row, column):
        """A weight, or in row 0 a byte in its place: signed(8)."""
        operand = Signal(signed(8), name=f"operand_{row}_{column}")
        weight = self._weight(row, column)
        m.d.comb += operand.eq(Mux(self.cached, self.bytes[column], weight) if row == 0 else weight)
        return operand

    def _weight(self, row, column):
        if row >= self.rows:
            return self.trits[row][column]
        weight = self.weights[row][column]
        return Mux(self.ternary, self.trits[row][column], weight) if self.ternary_rows else weight

    def _quads(self, m, name, operands):
        """Sums of four products of ``x`` with a row of ``operands``, three cycles later."""
        products = [
            multiply_registered(m, x, operand, name=f"{name}_{column}")
            for column, (x, operand) in enumerate(zip(self.x, operands, strict=True))
        ]
        sums = []
        for place in range(0, self.columns, QUAD):
            total = Signal(signed(len(products[0]) + 2), name=f"{name}_sum_{place}")
            a, b, c, d = products[place : place + QUAD]
            m.d.sync += total.eq((a + b) + (c + d))
            sums.append(total)
        return sums

    def _sums(self, m):
        """What each row's products add up to, in parts."""
        for r in range(self.rows):
            yield self._quads(m, f"row_{r}", [self._operand(m, r, c) for c in range(self.columns)])

    def _paired_sums(self, m, cached):
        """The same; rows of 4-bit weights two at a time: ``x * (low + high * 2**13)``.

        Four products of 4 bits are from -4064 to 4096: of the lower 13 bits of their sum all values
        but one are those of a signed number.
        """
        for r in range(0, self.rows, 2):
            operands = []
            for c in range(self.columns):
                operand = Signal(signed(18), name=f"operands_{r}_{c}")
                high = Mux(self.cached, 0, self._weight(r + 1, c))
                m.d.comb += operand.eq(self._operand(m, r, c) + (high << SPACING))
                operands.append(operand)
            lows, highs = [], []
            for n, both in enumerate(self._quads(m, f"rows_{r}", operands)):
                low, high = (Signal(signed(18), name=f"{part}_{r}_{n}") for part in ("low", "high"))
                negative = Signal(name=f"negative_{r}_{n}")
                m.d.comb += [
                    negative.eq(both[SPACING - 1] & both[: SPACING - 1].any()),
                    low.eq(Cat(both[:SPACING], negative).as_signed()),
                    high.eq((both >> SPACING) + negative),
                ]
                if r == 0:
                    with m.If(cached):
                        m.d.comb += low.eq(both)
                lows.append(low)
                highs.append(high)
            yield lows
            yield highs

    def _small_sums(self, m):
        """The same, two cycles later: two products of bytes in a block, or products in logic."""
        for r in range(SMALL_ROWS):
            products, operands = [], [self._operand(m, r, c) for c in range(self.columns)]
            for pair in range(0, self.columns, 2):
                m.submodules[f"pair_{r}_{pair}"] = unit = PairMultiplier()
                for k in range(2):
                    m.d.comb += [unit.a[k].eq(self.x[pair + k]), unit.b[k].eq(operands[pair + k])]
                    products.append(unit.p[k])
            yield products
        products = []
        for column in range(self.columns) if self.rows > SMALL_ROWS else ():
            x = Signal(signed(8), name=f"x_{column}")
            weight = Signal(signed(4), name=f"weight_{column}")
            product = Signal(signed(12), name=f"product_{column}")
            m.d.sync += [
                x.eq(self.x[column]),
                weight.eq(self.weights[self.rows - 1][column]),
                product.eq(x * weight),
            ]
            products.append(product)
        if products:
            yield products

    def _ternary_sums(self, m, stages):
        """Of the rows without multipliers, so many cycles later."""
        before = stages - -(-self.columns // TERMS)
        x = [delayed(m, value, before, "ternary_x") for value in self.x]
        for row in range(self.multiplied, self.ternary_rows):
            weights = [delayed(m, weight, before, "ternary_w") for weight in self.trits[row]]
            yield [ternary_sums(m, weights, x)]
