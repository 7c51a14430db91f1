"""The reciprocal square root, for norms."""

from amaranth import Cat, Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.tables import rsqrt_table
from celosia.rtl.interpolate import interpolate, normalize
from celosia.rtl.pipeline import Pipeline, bit_length

__all__ = ["Rsqrt"]


class Rsqrt(wiring.Component):
    """``1 / sqrt(x) = mantissa * 2**(-15 - shift)`` for ``x >= 1``.

    The mantissa, from 2**15 to 2**16, has a relative error of at most 6.1e-5. What comes of 0 is
    not defined. Bit-exact with :func:`celosia.reference.functions.rsqrt`.

    Latency 5 cycles. Throughput 1 value per cycle.

    Parameters
    ----------
    width : int, 1 to 62

    Members
    -------
    i : In(stream of unsigned(width))
    o : Out(stream of {mantissa: unsigned(17), shift: unsigned(6)})

    Raises
    ------
    ValueError
        If ``width`` is out of range.
    """

    def __init__(self, width):
        if width not in range(1, 63):
            raise ValueError(f"width must be from 1 to 62, not {width!r}")
        self.width = width
        result = data.StructLayout({"mantissa": unsigned(17), "shift": unsigned(6)})
        super().__init__(
            {"i": In(stream.Signature(unsigned(width))), "o": Out(stream.Signature(result))}
        )

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        pairs = Cat(self.i.p[n : n + 2].any() for n in range(0, self.width, 2))
        x, shift = pipe.stage(self.i.p, bit_length(pairs))
        u = normalize(m, x, shift, 2)
        padded = [[0] * 64 + column.tolist() for column in rsqrt_table()]
        mantissa, carried = interpolate(m, pipe, padded, 8, [u], [shift])
        mantissa, shift = pipe.stage(*mantissa, *carried)
        pipe.finish({"mantissa": mantissa, "shift": shift})
        return m
