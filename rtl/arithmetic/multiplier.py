"""One multiplier: a chip's own where the board has them, the portable one elsewhere."""

from amaranth import Module, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.multiplier_blocks import find_block

__all__ = ["Multiplier", "RegisteredMultiplier", "multiply", "multiply_registered"]


class _Multiplier(wiring.Component):
    """What both multipliers share: operands, their product, the chip's block."""

    def __init__(self, a, b, more=None, portable=False):
        self.portable = portable
        shapes = {"a": Shape.cast(a), "b": Shape.cast(b)}
        for name, shape in shapes.items():
            if shape.width not in range(1, 65):
                raise ValueError(f"{name} must have from 1 to 64 bits, not {shape.width}")
        signed = shapes["a"].signed or shapes["b"].signed
        p = Shape(shapes["a"].width + shapes["b"].width, signed)
        members = {"a": In(shapes["a"]), "b": In(shapes["b"]), "p": Out(p)}
        super().__init__({**members, **(more or {})})

    def _block(self, m, platform, en=None):
        """Drive the product from the chip's block; false if there is none for these operands."""
        block = None if self.portable else find_block(platform, self.a, self.b)
        if block is not None:
            product = Signal(48)
            m.submodules.dsp = block(self.a, self.b, product, en)
            m.d.comb += self.p.eq(product)
        return block is not None


class Multiplier(_Multiplier):
    """``p = a * b``, exact.

    On a Lattice ECP5 one MULT18X18D, on an iCE40 UltraPlus one SB_MAC16 (operands of up to 16
    bits), on a Gowin one MULT18X18, on a 7-series chip of AMD one DSP48E1, without their registers;
    on an UltraScale what synthesis makes of a product with ``use_dsp``. Elsewhere, and for operands
    that do not fit, the portable product.

    Latency 0 cycles.

    Parameters
    ----------
    a, b : shape-like
        Widths from 1 to 64.
    portable : bool
        No block, wherever it is.

    Members
    -------
    a, b : In(a), In(b)
    p : Out(shape of the product)

    Raises
    ------
    ValueError
        If a width is out of range.
    """

    def __init__(self, a, b, portable=False):
        super().__init__(a, b, None, portable)

    def elaborate(self, platform):
        m = Module()
        if not self._block(m, platform):
            m.d.comb += self.p.eq(self.a * self.b)
        return m


class RegisteredMultiplier(_Multiplier):
    """``p = a * b``, exact, between registers that move while ``en`` is high.

    On a Lattice ECP5 one MULT18X18D with its own registers, which set its operands up and give its
    product within a nanosecond or so; likewise on an iCE40 UltraPlus and on a Gowin, on AMD's chips
    as for :class:`Multiplier`. Elsewhere, and for operands that do not fit, the portable product
    between portable registers.

    Latency 2 cycles: operands in, product out. Throughput 1 product per cycle.

    Parameters
    ----------
    a, b : shape-like
        Widths from 1 to 64.
    portable : bool
        No block, wherever it is.

    Members
    -------
    a, b : In(a), In(b)
    en : In(1)
    p : Out(shape of the product)
        Undefined until two cycles with ``en`` have passed.

    Raises
    ------
    ValueError
        If a width is out of range.
    """

    latency = 2

    def __init__(self, a, b, portable=False):
        super().__init__(a, b, {"en": In(1)}, portable)

    def elaborate(self, platform):
        m = Module()
        if not self._block(m, platform, self.en):
            a, b = (Signal(x.shape(), reset_less=True) for x in (self.a, self.b))
            p = Signal(self.p.shape(), reset_less=True)
            with m.If(self.en):
                m.d.sync += [a.eq(self.a), b.eq(self.b), p.eq(a * b)]
            m.d.comb += self.p.eq(p)
        return m


def multiply(m, a, b, portable=False):
    """``a * b`` by a :class:`Multiplier`, as a signal."""
    multiplier = Multiplier(a.shape(), b.shape(), portable)
    m.submodules += multiplier
    m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]
    return multiplier.p


def multiply_registered(m, a, b, en=1, name=None, portable=False):
    """``a * b`` by a :class:`RegisteredMultiplier`, two cycles later, as a signal.

    ``name`` is the submodule's, by which a board may place it.
    """
    multiplier = RegisteredMultiplier(a.shape(), b.shape(), portable)
    if name is None:
        m.submodules += multiplier
    else:
        m.submodules[name] = multiplier
    m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b), multiplier.en.eq(en)]
    return multiplier.p
