"""One multiplier: a chip's own where the board has them, the portable one elsewhere."""

from amaranth import Cat, ClockSignal, Const, Instance, Module, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Multiplier", "RegisteredMultiplier", "multiply", "multiply_registered"]

ECP5_WIDTH = 18


class _Multiplier(wiring.Component):
    """What both multipliers share: operands, their product, the ECP5's block."""

    def __init__(self, a, b, more=None):
        shapes = {"a": Shape.cast(a), "b": Shape.cast(b)}
        for name, shape in shapes.items():
            if shape.width not in range(1, 65):
                raise ValueError(f"{name} must have from 1 to 64 bits, not {shape.width}")
        signed = shapes["a"].signed or shapes["b"].signed
        p = Shape(shapes["a"].width + shapes["b"].width, signed)
        members = {"a": In(shapes["a"]), "b": In(shapes["b"]), "p": Out(p)}
        super().__init__({**members, **(more or {})})

    def _has_block(self, platform):
        """Whether the chip has a block for both operands, as signed numbers."""
        widths = [len(x) + (not x.shape().signed) for x in (self.a, self.b)]
        return getattr(platform, "family", None) == "ecp5" and max(widths) <= ECP5_WIDTH

    def _mult18x18d(self, m, **registers):
        """The block, with its operands in its upper bits: what is constant there needs no wires."""
        product = Signal(2 * ECP5_WIDTH)
        ports, below = {}, 0
        for letter, x in (("A", self.a), ("B", self.b)):
            x = x if x.shape().signed else Cat(x, Const(0, 1))
            operand = Cat(Const(0, ECP5_WIDTH - len(x)), x)
            below += ECP5_WIDTH - len(x)
            ports |= {f"i_{letter}{n}": operand[n] for n in range(ECP5_WIDTH)}
        ports |= {f"i_C{n}": Const(0, 1) for n in range(ECP5_WIDTH)}
        ports |= {f"o_P{n}": product[n] for n in range(2 * ECP5_WIDTH)}
        m.submodules.dsp = Instance(
            "MULT18X18D",
            **ports,
            **registers,
            i_SIGNEDA=Const(1, 1),
            i_SIGNEDB=Const(1, 1),
            i_SOURCEA=Const(0, 1),
            i_SOURCEB=Const(0, 1),
        )
        m.d.comb += self.p.eq(product[below:])


class Multiplier(_Multiplier):
    """``p = a * b``, exact.

    On a Lattice ECP5 one MULT18X18D, without its registers. Elsewhere, and for operands that do
    not fit, the portable product.

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

    def elaborate(self, platform):
        m = Module()
        if self._has_block(platform):
            self._mult18x18d(m)
        else:
            m.d.comb += self.p.eq(self.a * self.b)
        return m


class RegisteredMultiplier(_Multiplier):
    """``p = a * b``, exact, between registers that move while ``en`` is high.

    On a Lattice ECP5 one MULT18X18D with its own registers, which set its operands up and give its
    product within a nanosecond or so. Elsewhere, and for operands that do not fit, the portable
    product between portable registers.

    Latency 2 cycles: operands in, product out. Throughput 1 product per cycle.

    Parameters
    ----------
    a, b : shape-like
        Widths from 1 to 64.

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

    def __init__(self, a, b):
        super().__init__(a, b, {"en": In(1)})

    def elaborate(self, platform):
        m = Module()
        if self._has_block(platform):
            stages = ("INPUTA", "INPUTB", "OUTPUT")
            clocks = {f"p_REG_{stage}_CLK": "CLK0" for stage in stages}
            pins = {"i_CLK0": ClockSignal(), "i_CE0": self.en, "i_RST0": Const(0, 1)}
            self._mult18x18d(m, **clocks, **pins)
        else:
            a, b = (Signal(x.shape(), reset_less=True) for x in (self.a, self.b))
            p = Signal(self.p.shape(), reset_less=True)
            with m.If(self.en):
                m.d.sync += [a.eq(self.a), b.eq(self.b), p.eq(a * b)]
            m.d.comb += self.p.eq(p)
        return m


def multiply(m, a, b):
    """``a * b`` by a :class:`Multiplier`, as a signal."""
    multiplier = Multiplier(a.shape(), b.shape())
    m.submodules += multiplier
    m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]
    return multiplier.p


def multiply_registered(m, a, b, en=1):
    """``a * b`` by a :class:`RegisteredMultiplier`, two cycles later, as a signal."""
    multiplier = RegisteredMultiplier(a.shape(), b.shape())
    m.submodules += multiplier
    m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b), multiplier.en.eq(en)]
    return multiplier.p
