"""What every board's top does: a clock, a serial line or USB, LEDs around a machine."""

from amaranth import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io
from celosia.boards.serial_machine import SerialMachine

__all__ = ["Top", "request", "uart_ports"]


class Top(Elaboratable):
    """A machine at the pins of a board.

    The clock starts when the loop has locked, with every register at its initial value; there is
    no reset. LEDs: 0 clock, 1 a run is under way, 2 and 3 bytes received and sent; a board with
    fewer shows the first ones.

    Parameters
    ----------
    machine : celosia.rtl.machine.machine.Machine
    pll : object
        ``frequency`` in Hz, and ``drive(m, source, running)``, which adds what makes the gated
        clock ``running`` of the clock ``source``.
    baud : int or None
        None: USB, whose pins and clock the board's own top adds.
    source : str
        The resource of the board's clock.
    uart : function(platform)
        The ports ``(rx, tx)``.
    leds : function(platform)
        Up to four ports.
    """

    def __init__(self, machine, pll, baud, *, source, uart, leds):
        self.pll = pll
        self.source = source
        self.uart = uart
        self.leds = leds
        self.serial = SerialMachine(machine, pll.frequency, baud)

    def elaborate(self, platform):
        m = Module()
        running = Signal(name="running")
        m.domains.sync = domain = ClockDomain(reset_less=True)
        self.drive_clock(m, platform, self.clock_pin(m, platform), running)
        m.d.comb += domain.clk.eq(running)
        platform.add_clock_constraint(running, self.pll.frequency)

        m.submodules.serial = serial = self.serial
        if not serial.has_usb:
            rx, tx = self.uart(platform)
            m.submodules.rx = rx = io.Buffer("i", rx)
            m.submodules.tx = tx = io.Buffer("o", tx)
            m.d.comb += [serial.rx.eq(rx.i), tx.o.eq(serial.tx)]
        for number, port in enumerate(self.leds(platform)):
            m.submodules[f"led_{number}"] = led = io.Buffer("o", port)
            m.d.comb += led.o.eq(serial.leds[number])
        return m

    def clock_pin(self, m, platform):
        """The clock from its pin."""
        m.submodules.source = source = io.Buffer("i", request(platform, self.source))
        return source.i

    def drive_clock(self, m, platform, source, running):
        """Add what makes the clock ``running``, in Hz ``self.pll.frequency``, of ``source``."""
        self.pll.drive(m, source, running)


def request(platform, name, number=0):
    """The ports of a resource, without amaranth's buffers."""
    parts = [part.name for part in platform.lookup(name, number).ios if hasattr(part, "name")]
    return platform.request(name, number, dir=dict.fromkeys(parts, "-") if parts else "-")


def uart_ports(platform):
    """``(rx, tx)`` of the resource ``uart``."""
    uart = request(platform, "uart")
    return uart.rx, uart.tx
