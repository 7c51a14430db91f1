"""An asynchronous serial line: eight data bits, no parity, one stop bit."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_range

__all__ = ["UartReceiver", "UartTransmitter", "line_divisor"]

LEAST, MOST = 8, 65535  # cycles in a bit
TOLERANCE = 0.02


def line_divisor(frequency, baud):
    """Cycles in a bit of a line of ``baud`` bits per second, at a clock of ``frequency`` Hz.

    Raises
    ------
    ValueError
        If the clock is too slow or too fast for the line, or too coarse.
    """
    divisor = round(frequency / baud)
    if divisor not in range(LEAST, MOST + 1) or abs(frequency / divisor / baud - 1) > TOLERANCE:
        raise ValueError(
            f"baud {baud} cannot be made of a clock of {frequency / 1e6:g} MHz within 2 %"
        )
    return divisor


class UartReceiver(wiring.Component):
    """Bytes from a line that rests at 1: start bit 0, eight bits from the lowest on, stop bit 1.

    Each bit is looked at in its middle. A start bit that is over by its middle is none, a byte
    without its stop bit is dropped. There is no back pressure on the line: a byte that nobody has
    taken when the next one is complete is lost.

    Latency ``9.5 * divisor + 3`` cycles, rounded up, from the start bit's edge to the byte.

    Parameters
    ----------
    divisor : int, 8 to 65535
        Cycles in a bit.

    Members
    -------
    rx : In(1)
        The line; need not be synchronous.
    o : Out(stream of unsigned(8))

    Raises
    ------
    ValueError
        If ``divisor`` is out of range.
    """

    rx: In(1, init=1)
    o: Out(stream.Signature(8))

    def __init__(self, divisor):
        check_range("divisor", divisor, LEAST, MOST)
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        timer, left = Signal(range(self.divisor)), Signal(range(11))
        bits = Signal(8)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(left == 0):
            m.d.sync += timer.eq((self.divisor - 1) // 2)
            with m.If(~line):
                m.d.sync += left.eq(10)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [
                timer.eq(self.divisor - 1),
                left.eq(Mux((left == 10) & line, 0, left - 1)),
                bits.eq(Cat(bits[1:], line)),
            ]
            with m.If((left == 1) & line):
                m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(bits)]
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a line that rests at 1: start bit 0, eight bits from the lowest on, stop bit 1.

    Latency 1 cycle to the start bit's edge. Throughput 1 byte in ``10 * divisor`` cycles.

    Parameters
    ----------
    divisor : int, 8 to 65535
        Cycles in a bit.

    Members
    -------
    i : In(stream of unsigned(8))
    tx : Out(1)
        The line.

    Raises
    ------
    ValueError
        If ``divisor`` is out of range.
    """

    i: In(stream.Signature(8))
    tx: Out(1, init=1)

    def __init__(self, divisor):
        check_range("divisor", divisor, LEAST, MOST)
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        timer, left = Signal(range(self.divisor)), Signal(range(11))
        bits = Signal(10, init=0x3FF)
        over = Signal()
        m.d.comb += [
            over.eq((left == 0) | ((left == 1) & (timer == 0))),
            self.i.ready.eq(over),
            self.tx.eq(bits[0]),
        ]
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(left != 0):
            m.d.sync += [
                timer.eq(self.divisor - 1),
                left.eq(left - 1),
                bits.eq(Cat(bits[1:], Const(1, 1))),
            ]
        with m.If(self.i.valid & over):
            m.d.sync += [
                timer.eq(self.divisor - 1),
                left.eq(10),
                bits.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))),
            ]
        return m
