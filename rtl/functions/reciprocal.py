"""The reciprocal, for softmax."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.functions.tables import reciprocal_table
from celosia.rtl.functions.interpolate import interpolate, normalize
from celosia.rtl.stream.pipeline import Pipeline, bit_length

__all__ = ["Reciprocal"]


class Reciprocal(wiring.Component):
    """``1 / x = mantissa * 2**(-15 - shift)`` for ``x >= 1``.

    The mantissa, from 2**15 to 2**16, has a relative error of at most 5.6e-5. What comes of 0 is
    not defined. Bit-exact with :func:`celosia.reference.functions.functions.reciprocal`.

    Latency :attr:`latency`, 5 cycles, 6 if ``spread``. Throughput 1 value per cycle.

    Parameters
    ----------
    width : int, 1 to 62
    spread : bool
        Whether the table's address comes out of a register, so that the table may lie far away.
    multiplier_blocks : bool
        Whether the product is one of the chip's multipliers, or made of LUTs.

    Members
    -------
    i : In(stream of unsigned(width))
    o : Out(stream of {mantissa: unsigned(17), shift: unsigned(6)})

    Raises
    ------
    ValueError
        If ``width`` is out of range.
    """

    digit = 1  # bits of x that move the result's point by one
    table = staticmethod(reciprocal_table)

    def __init__(self, width, spread=False, multiplier_blocks=False):
        if width not in range(1, 63):
            raise ValueError(f"width must be from 1 to 62, not {width!r}")
        self.width = width
        self.spread = spread
        self.multiplier_blocks = multiplier_blocks
        self.latency = 6 if spread else 5
        result = data.StructLayout({"mantissa": unsigned(17), "shift": unsigned(6)})
        super().__init__(
            {"i": In(stream.Signature(unsigned(width))), "o": Out(stream.Signature(result))}
        )

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        digits = range(0, self.width, self.digit)
        leading = Signal(len(digits))
        m.d.comb += leading.eq(Cat(self.i.p[n : n + self.digit].any() for n in digits))
        x, shift = pipe.stage(self.i.p, bit_length(leading))
        u = normalize(m, x, shift, self.digit)
        if self.spread:
            u, shift = pipe.stage(u, shift)
        mantissa, carried = interpolate(
            m, pipe, self.table(), 8, [u], [shift], multiplier_blocks=self.multiplier_blocks
        )
        mantissa, shift = pipe.stage(*mantissa, *carried)
        pipe.finish({"mantissa": mantissa, "shift": shift})
        return m
