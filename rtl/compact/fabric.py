"""The compact machine's dot products: four rows of four columns a beat."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.pair_multiplier import PairMultiplier

__all__ = ["CompactFabric"]

ROWS = LANES = 4


class CompactFabric(wiring.Component):
    """``result[r] = sum over the beats of (weights[r] . x)``, four rows; or one row of bytes.

    The products of rows 0 to 2 are made in multiplier blocks where the chip has them (two in a
    block), those of row 3 in logic. Exact: sums of up to 256 beats.

    Latency: the first result 3 cycles after the last beat, the others one by one behind it, a
    cycle each as ``next`` moves them. Throughput 1 beat per cycle.

    Parameters
    ----------
    acc_width : int, 16 to 24

    Members
    -------
    beat, first, last : In(1)
        A beat is there; it is the first or last one of its dot products.
    x : In(array of 4 signed(8))
    weights : In(array of 4 rows of 4 signed(4))
    bytes : In(array of 4 signed(8))
        In place of row 0's weights, while ``cached``.
    cached : In(1)
    done : Out(1)
        1 in the cycle before ``result`` is row 0's.
    next : In(1)
        Move on to the next row.
    result : Out(signed(acc_width))
    """

    def __init__(self, acc_width):
        if acc_width not in range(16, 25):
            raise ValueError(f"acc_width must be from 16 to 24, not {acc_width!r}")
        self.acc_width = acc_width
        row = data.ArrayLayout(signed(4), LANES)
        octets = data.ArrayLayout(signed(8), LANES)
        super().__init__(
            {
                "beat": In(1),
                "first": In(1),
                "last": In(1),
                "x": In(octets),
                "weights": In(data.ArrayLayout(row, ROWS)),
                "bytes": In(octets),
                "cached": In(1),
                "done": Out(1),
                "next": In(1),
                "result": Out(signed(acc_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        flags = Cat(self.beat, self.first, self.last)
        at_products = Signal(3)
        at_sums = Signal(3)
        m.d.sync += [at_products.eq(flags), at_sums.eq(at_products)]
        beat, first, last = at_sums
        m.d.comb += self.done.eq(beat & last)
        totals = []
        for r in range(ROWS):
            products = self._products(m, r)
            total = Signal(signed(self.acc_width), name=f"total_{r}")
            so_far = Signal(signed(self.acc_width), name=f"acc_{r}")
            m.d.comb += total.eq(
                ((products[0] + products[1]) + (products[2] + products[3])) + Mux(first, 0, so_far)
            )
            with m.If(beat):
                m.d.sync += so_far.eq(total)
            totals.append(total)
        held = Signal(data.ArrayLayout(signed(self.acc_width), ROWS))
        with m.If(self.next):
            m.d.sync += held.as_value().eq(held.as_value() >> self.acc_width)
        with m.If(self.done):
            m.d.sync += held.eq(Cat(totals))
        m.d.comb += self.result.eq(held[0])
        return m

    def _products(self, m, row):
        """The four products of a row, two cycles behind the beat."""
        operands = []
        for lane in range(LANES):
            operand = Signal(signed(8), name=f"operand_{row}_{lane}")
            weight = self.weights[row][lane]
            m.d.comb += operand.eq(
                Mux(self.cached, self.bytes[lane], weight) if row == 0 else weight
            )
            operands.append(operand)
        if row < 3:
            products = []
            for pair in (0, 2):
                m.submodules[f"pair_{row}_{pair}"] = unit = PairMultiplier()
                for k in range(2):
                    m.d.comb += [unit.a[k].eq(self.x[pair + k]), unit.b[k].eq(operands[pair + k])]
                    products.append(unit.p[k])
            return products
        products = []
        for lane in range(LANES):
            x = Signal(signed(8), name=f"x_{lane}")
            weight = Signal(signed(4), name=f"weight_{lane}")
            product = Signal(signed(12), name=f"product_{lane}")
            m.d.sync += [
                x.eq(self.x[lane]),
                weight.eq(self.weights[row][lane]),
                product.eq(x * weight),
            ]
            products.append(product)
        return products
