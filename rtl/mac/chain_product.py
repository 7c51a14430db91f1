"""A product of two narrow signed numbers without a multiplier block: carry chains, one a bit."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.mac.ternary_sum import add_ternary
from celosia.rtl.stream.checks import check_range

__all__ = ["ChainProduct", "chain_product"]

ROWS = 4  # bits of the weight whose rows are added one behind the other


class ChainProduct(wiring.Component):
    """``p = w * x``, exact, between registers.

    A bit of ``w`` adds ``x`` or nothing, its sign subtracts: on a Lattice ECP5 a carry chain each,
    whose LUTs choose. More than 4 bits make two such sums, which are added.

    Latency 2 cycles: operands in, product out. Throughput 1 product per cycle.

    Parameters
    ----------
    w_width : int, 2 to 8
    x_width : int, 2 to 16

    Members
    -------
    w, x : In(signed)
    p : Out(signed(w_width + x_width))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 2

    def __init__(self, w_width, x_width):
        check_range("w_width", w_width, 2, 2 * ROWS)
        check_range("x_width", x_width, 2, 16)
        self.w_width = w_width
        self.x_width = x_width
        super().__init__(
            {
                "w": In(signed(w_width)),
                "x": In(signed(x_width)),
                "p": Out(signed(w_width + x_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        w, x = (
            Signal(v.shape(), reset_less=True, name=n) for n, v in (("a", self.w), ("b", self.x))
        )
        p = Signal(self.p.shape(), reset_less=True)
        m.d.sync += [w.eq(self.w), x.eq(self.x), p.eq(self._sum(m, platform, w, x))]
        m.d.comb += self.p.eq(p)
        return m

    def _sum(self, m, platform, w, x):
        low = _rows(m, platform, w[:ROWS], x, self.w_width <= ROWS)
        if self.w_width <= ROWS:
            return low
        high = _rows(m, platform, w[ROWS:], x, True)
        upper = Signal(signed(max(len(low) - ROWS, len(high)) + 1), attrs={"keep": 1})
        m.d.comb += upper.eq((low >> ROWS) + high)
        return Cat(low[:ROWS], upper).as_signed()


def _rows(m, platform, bits, x, negative):
    """The sum of ``x`` for each of ``bits`` at its place; that of the last one may be negative."""
    if len(bits) == 1:
        return Mux(bits, -x, 0) if negative else Mux(bits, x, 0)
    total = Mux(bits[0], x, 0).as_signed()
    for n, bit in enumerate(bits[1:], 1):
        sign = bit if negative and n == len(bits) - 1 else Const(0, 1)
        above = total[n:].as_signed()
        new = Signal(signed(max(len(above), len(x)) + 1), name=f"sum_{n}")
        add_ternary(m, platform, above, x, Cat(bit, sign), new)
        total = Cat(total[:n], new).as_signed()
    return total


def chain_product(m, w, x, name):
    """``w * x`` by a :class:`ChainProduct`, two cycles later; ``name`` is the submodule's."""
    m.submodules[name] = product = ChainProduct(len(w), len(x))
    m.d.comb += [product.w.eq(w), product.x.eq(x)]
    return product.p
