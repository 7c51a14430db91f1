"""Counts the values of a stream of words that lie beyond a format, or at its limits."""

from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.stream.checks import check_range

__all__ = ["Saturations"]


class Saturations(wiring.Component):
    """``count`` is how many of ``values`` have no neighbours on both sides in ``width`` bits.

    Such a value is the largest or the smallest of the format, or beyond it: it was saturated, or
    would be. Bit-exact with :func:`celosia.reference.arithmetic.saturations`.

    Latency 2 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    value_width : int, 2 to 32
        Bits of a value.
    width : int, 2 to ``value_width``

    Members
    -------
    valid : In(1)
    values : In(signed(value_width)[lanes])
    count : Out(unsigned)
        0 where ``valid`` was low.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 2

    def __init__(self, lanes, value_width, width):
        check_range("lanes", lanes, 1, 64)
        check_range("value_width", value_width, 2, 32)
        check_range("width", width, 2, value_width)
        self.lanes = lanes
        self.value_width = value_width
        self.width = width
        super().__init__(
            {
                "valid": In(1),
                "values": In(data.ArrayLayout(value_width, lanes)),
                "count": Out(ceil_log2(lanes + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        at_limit = Signal(self.lanes)
        for n in range(self.lanes):
            value = self.values[n]
            sign = value[-1]
            low, above = value[: self.width - 1], value[self.width - 1 : -1]
            # Inside: the bits above are the sign's, and the bits below are not all unlike it.
            beyond = (above ^ sign.replicate(len(above))).any()
            limit = (low ^ sign.replicate(len(low))).all()
            m.d.sync += at_limit[n].eq(self.valid & (beyond | limit))
        bits: list[Any] = [*Cat(at_limit)]
        m.d.sync += self.count.eq(sum(bits))
        return m
