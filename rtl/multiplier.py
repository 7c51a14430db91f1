"""One multiplier: a chip's own where the board has them, the portable one elsewhere."""

from amaranth import Cat, Const, Instance, Module, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Multiplier", "multiply"]

ECP5_WIDTH = 18


class Multiplier(wiring.Component):
    """``p = a * b``, exact.

    On a Lattice ECP5 one MULT18X18D, without its registers: the place-and-route tool times the
    block as if it had none, and so the registers around it are those of the fabric. Elsewhere, and
    for operands that do not fit, the portable product.

    Latency 0 cycles.

    Parameters
    ----------
    a, b : shape-like
        Widths from 1 to 64.

    Members
    -------
    a, b : In(a), In(b)
    p : Out(shape of the product)

    Raises
    ------
    ValueError
        If a width is out of range.
    """

    def __init__(self, a, b):
        shapes = {"a": Shape.cast(a), "b": Shape.cast(b)}
        for name, shape in shapes.items():
            if shape.width not in range(1, 65):
                raise ValueError(f"{name} must have from 1 to 64 bits, not {shape.width}")
        signed = shapes["a"].signed or shapes["b"].signed
        p = Shape(shapes["a"].width + shapes["b"].width, signed)
        super().__init__({"a": In(shapes["a"]), "b": In(shapes["b"]), "p": Out(p)})

    def elaborate(self, platform):
        m = Module()
        if getattr(platform, "family", None) == "ecp5" and self._fits(ECP5_WIDTH):
            self._mult18x18d(m)
        else:
            m.d.comb += self.p.eq(self.a * self.b)
        return m

    def _fits(self, width):
        """Whether both operands are signed numbers of ``width`` bits."""
        return all(len(x) + (not x.shape().signed) <= width for x in (self.a, self.b))

    def _mult18x18d(self, m):
        product = Signal(2 * ECP5_WIDTH)
        ports = {}
        for letter, x in (("A", self.a), ("B", self.b)):
            sign = x[-1] if x.shape().signed else Const(0, 1)
            operand = Cat(x, sign.replicate(ECP5_WIDTH - len(x)))
            ports |= {f"i_{letter}{n}": operand[n] for n in range(ECP5_WIDTH)}
        ports |= {f"i_C{n}": Const(0, 1) for n in range(ECP5_WIDTH)}
        ports |= {f"o_P{n}": product[n] for n in range(2 * ECP5_WIDTH)}
        m.submodules.dsp = Instance(
            "MULT18X18D",
            **ports,
            i_SIGNEDA=Const(1, 1),
            i_SIGNEDB=Const(1, 1),
            i_SOURCEA=Const(0, 1),
            i_SOURCEB=Const(0, 1),
        )
        m.d.comb += self.p.eq(product)


def multiply(m, a, b):
    """``a * b`` by a :class:`Multiplier`, as a signal."""
    multiplier = Multiplier(a.shape(), b.shape())
    m.submodules += multiplier
    m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]
    return multiplier.p
