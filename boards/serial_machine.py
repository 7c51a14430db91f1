"""A machine behind a serial line, or USB: what every board's top holds and what is simulated."""

from amaranth import Cat, Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.host.uart import UartReceiver, UartTransmitter, line_divisor
from celosia.rtl.memory.sdram import sdram_pins
from celosia.rtl.memory.spi_flash import spi_flash_pins
from celosia.rtl.stream.buffer import Buffer
from celosia.rtl.usb.device import ATTACH, usb_pins
from celosia.rtl.usb.usb_serial import UsbSerial

__all__ = ["SerialMachine"]

BLINK = 25  # bits of the counter whose last one shows that the clock runs
QUEUE = 64  # bytes that wait while the machine writes a frame of them into its memory
AFTERGLOW = 20  # bits of the counter for which a byte lights its LED


class SerialMachine(wiring.Component):
    """A machine whose byte streams go over an asynchronous serial line (8N1), or over USB.

    Parameters
    ----------
    machine : celosia.rtl.machine.machine.Machine
    frequency : float
        Of the clock, in Hz.
    baud : int or None
        Bits per second, a bit in 8 to 65,535 cycles; what the clock makes of it differs by up to
        2 %. None: USB, in the domain ``usb`` of 48 MHz.
    attach : int
        As of :class:`celosia.rtl.usb.device.UsbDevice`.

    Members
    -------
    rx, tx : In(1), Out(1)
        The line; ``rx`` need not be synchronous. Not with USB.
    usb : Out(usb_pins)
        With USB alone.
    leds : Out(4)
        The clock runs (blinking), a run is under way, bytes come, bytes go.
    sdram, flash : Out(sdram_pins), Out(spi_flash_pins)
        The machine's, if it has them.

    Raises
    ------
    ValueError
        If the clock is too slow or too fast for the line, or too coarse.
    """

    def __init__(self, machine, frequency, baud, attach=ATTACH):
        self.has_usb = baud is None
        self.divisor = None if self.has_usb else line_divisor(frequency, baud)
        self.attach = attach
        self.machine = machine
        self.frequency = frequency
        self.baud = baud
        self.has_sdram = "sdram" in machine.signature.members
        self.has_flash = "flash" in machine.signature.members
        line = {"rx": In(1, init=1), "tx": Out(1, init=1)}
        super().__init__(
            {
                **({"usb": Out(usb_pins())} if self.has_usb else line),
                "leds": Out(4),
                **({"sdram": Out(sdram_pins())} if self.has_sdram else {}),
                **({"flash": Out(spi_flash_pins())} if self.has_flash else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.machine = machine = self.machine
        incoming, outgoing, pins = self._usb(m) if self.has_usb else self._line(m)
        connect(m, incoming, machine.rx)
        if self.has_sdram:
            connect(m, machine.sdram, flipped(self.sdram))
        if self.has_flash:
            connect(m, machine.flash, flipped(self.flash))
        m.submodules.sent = sent = Buffer(8)  # the line's pace ends here
        connect(m, machine.tx, sent.i)
        connect(m, sent.o, outgoing)
        m.d.comb += pins
        counter = Signal(BLINK)
        glows = [Signal(AFTERGLOW, name=f"glow_{way}") for way in ("rx", "tx")]
        m.d.sync += counter.eq(counter + 1)
        for glow, stream in zip(glows, (machine.rx, machine.tx), strict=True):
            with m.If(stream.valid & stream.ready):
                m.d.sync += glow.eq(-1)
            with m.Elif(glow != 0):
                m.d.sync += glow.eq(glow - 1)
        busy = machine.activity[4]
        m.d.sync += self.leds.eq(Cat(counter[-1], busy, *(glow != 0 for glow in glows)))
        return m

    def _line(self, m):
        """The serial line, on which nobody waits: what comes, what goes, the pins."""
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        pins = [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        if not self.has_sdram:
            return receiver.o, transmitter.i, pins
        m.submodules.queue = queue = fifo.SyncFIFO(width=8, depth=QUEUE)
        connect(m, receiver.o, queue.w_stream)
        return queue.r_stream, transmitter.i, pins

    def _usb(self, m):
        """USB, whose host waits: what comes, what goes, the pins."""
        m.submodules.port = port = UsbSerial(self.attach)
        connect(m, port.pins, flipped(self.usb))
        return port.o, port.i, []
