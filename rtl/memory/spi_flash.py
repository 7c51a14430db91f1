"""A serial flash memory's reader."""

from amaranth import Cat, Const, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_range

__all__ = ["SpiFlash", "flash_read_layout", "spi_flash_pins"]

FAST_READ, WAKE = 0x0B, 0xAB
WAKE_TIME = 50e-6  # seconds from the power-down's end to the first command
REST_TIME = 100e-9  # between two commands
HEADER = 40  # bits: command, address, 8 without meaning


def spi_flash_pins():
    """A chip's pins as its controller sees them."""
    return wiring.Signature({"cs_n": Out(1, init=1), "sck": Out(1), "copi": Out(1), "cipo": In(1)})


def flash_read_layout():
    """``count`` bytes, at least 1, from ``address`` on."""
    return data.StructLayout({"address": unsigned(24), "count": unsigned(25)})


class SpiFlash(wiring.Component):
    """``o`` delivers bytes ``address`` to ``address + count - 1`` of each read, in order.

    FAST READ (0Bh) in SPI mode 0, 24 bits of address. First of all the chip is woken from its
    power-down (ABh). ``cipo`` is taken at the end of the clock's high phase, a whole period after
    the edge with which the chip changes it.

    Latency of a read ``96 * divisor + 1`` cycles, 98 with a divisor of 1. Throughput
    1 byte in ``16 * divisor`` cycles; the clock stands still while ``o`` waits.

    Parameters
    ----------
    frequency : number, 1e6 or more
        Of the clock, in Hz.
    divisor : int, 1 to 256
        Cycles in half a period of ``sck``, which the chip and its pins must bear: chips take 50 MHz
        or more.

    Members
    -------
    read : In(stream of flash_read_layout)
    o : Out(stream of unsigned(8))
    pins : Out(spi_flash_pins)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    read: In(stream.Signature(flash_read_layout()))
    o: Out(stream.Signature(8))
    pins: Out(spi_flash_pins())

    def __init__(self, frequency, divisor=1):
        if not frequency >= 1e6:
            raise ValueError(f"frequency must be at least 1e6, not {frequency!r}")
        check_range("divisor", divisor, 1, 256)
        self.frequency = frequency
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        pins = self.pins
        wake = int(WAKE_TIME * self.frequency) + 1
        rest = int(REST_TIME * self.frequency) + 1
        half = Signal(range(self.divisor))
        tick = Signal()
        header = Signal(HEADER, init=WAKE << HEADER - 8)  # what is still to be sent, from the top
        bits = Signal(range(HEADER + 1), init=8)
        byte = Signal(8)
        left = Signal.like(self.read.p.count)
        wait = Signal(range(wake + 1), init=wake)
        m.d.comb += [tick.eq(half == self.divisor - 1), pins.copi.eq(header[-1])]
        m.d.sync += half.eq(half + 1)
        with m.If(tick):
            m.d.sync += half.eq(0)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM(init="SEND"):
            with m.State("REST"):
                m.d.sync += [pins.cs_n.eq(1), wait.eq(wait - 1)]
                with m.If(wait == 0):
                    m.d.sync += wait.eq(0)
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.read.ready.eq(1)
                with m.If(self.read.valid):
                    m.d.sync += [
                        header.eq(Cat(Const(0, 8), self.read.p.address, Const(FAST_READ, 8))),
                        bits.eq(HEADER),
                        left.eq(self.read.p.count),
                        half.eq(0),
                    ]
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.sync += pins.cs_n.eq(0)
                with m.If(tick & ~pins.cs_n):
                    m.d.sync += pins.sck.eq(~pins.sck)
                    with m.If(pins.sck):
                        m.d.sync += [header.eq(header << 1), bits.eq(bits - 1)]
                        with m.If(bits == 1):
                            m.d.sync += bits.eq(8)
                            m.next = "READ"
                            with m.If(left == 0):
                                m.next = "REST"
            with m.State("READ"):
                with m.If(tick & pins.sck):
                    m.d.sync += [pins.sck.eq(0), byte.eq(Cat(pins.cipo, byte)), bits.eq(bits - 1)]
                    with m.If(bits == 1):
                        m.d.sync += [bits.eq(8), left.eq(left - 1), wait.eq(rest)]
                        m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(Cat(pins.cipo, byte))]
                        with m.If(left == 1):
                            m.next = "REST"
                with m.Elif(tick & ~(self.o.valid & ~self.o.ready & (bits == 1))):
                    m.d.sync += pins.sck.eq(1)
        return m
