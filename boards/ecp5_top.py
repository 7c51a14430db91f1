"""The top of an ECP5 board: a machine at its pins, with flash, SDRAM and USB where it has them."""

from amaranth import ClockDomain, Const, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.wiring import connect
from celosia.boards.build import BAUD
from celosia.boards.pll import USB_CLOCK, plan_pll, plan_usb_pll
from celosia.boards.sdram_pads import SdramPads, clock_delay
from celosia.boards.top import Top, request, uart_ports
from celosia.boards.usb_pads import UsbPads

__all__ = ["Ecp5Board", "Ecp5Top", "rgb_leds"]


class Ecp5Board:
    """What ECP5 boards share; their classes say what differs.

    Attributes
    ----------
    source : str
        The resource of the board's clock.
    source_clock : float
        In Hz.
    flash : str
        The resource of its serial flash.
    default_clock, compact_clock : float
        In MHz, where none is asked for: the dataflow machine's, the compact one's.
    links : tuple of str
        Of :data:`celosia.boards.link.LINKS` those that it can have.
    link : str
        The one that it has.
    """

    default_clock = 80.0
    compact_clock = 60.0  # bench/boards/
    memories = ("on_chip",)
    baud = BAUD
    flash = "spi_flash"
    links = ("uart",)
    link = "uart"

    def clock(self, megahertz):
        """The clock, in Hz, that the board makes for a wish of ``megahertz``."""
        return plan_pll(self.source_clock, megahertz * 1e6).frequency

    def sdram_delay(self, megahertz):
        """How many cycles of the loop's oscillator later the SDRAM gets a clock of ``megahertz``.

        Raises
        ------
        ValueError
            If none is right.
        """
        pll = plan_pll(self.source_clock, megahertz * 1e6)
        return clock_delay(pll.frequency, pll.divide)

    def leds(self, platform):
        """The ports of the LEDs."""
        return [request(platform, "led", number) for number in range(4)]

    def top(self, machine, megahertz, baud):
        """The board's top with this machine; of USB the line has no ``baud``."""
        pll = plan_pll(self.source_clock, megahertz * 1e6)
        ports = {"source": self.source, "leds": self.leds, "flash": self.flash}
        return Ecp5Top(machine, pll, None if self.link == "usb" else baud, **ports)


class Ecp5Top(Top):
    """A machine at the pins of an ECP5 board; see :class:`celosia.boards.top.Top`.

    The SDRAM, if the machine has one, gets the same clock ``late`` cycles of the loop's oscillator
    later.
    """

    def __init__(self, machine, pll, baud, *, source, leds, flash):
        super().__init__(machine, pll, baud, source=source, uart=uart_ports, leds=leds)
        self.flash, self.late = flash, 0
        if self.serial.has_sdram:
            self.late = clock_delay(pll.frequency, pll.divide)

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.serial.has_flash:
            self._flash(m, platform)
        return m

    def drive_clock(self, m, platform, source, running):
        late = self._sdram(m, platform) if self.serial.has_sdram else None
        locked = self.pll.drive(m, source, running, late, self.late)
        if self.serial.has_usb:
            self._usb(m, platform, source, locked)

    def _usb(self, m, platform, source, locked):
        """USB's pins and its clock: the board's own where that is 48 MHz, else a second loop's."""
        running, frequency = Signal(name="usb_running"), self.pll.source
        m.domains.usb = domain = ClockDomain(reset_less=True)
        m.d.comb += domain.clk.eq(running)
        if frequency == USB_CLOCK:
            gate = Instance("DCCA", i_CLKI=source, i_CE=locked, o_CLKO=running)
            m.submodules.usb_gate = gate
        else:
            loop, clock = plan_usb_pll(frequency), Module()
            frequency = loop.frequency
            loop.drive(clock, source, running)
            m.submodules.usb_clock = clock
        platform.add_clock_constraint(running, frequency)
        m.submodules.usb_pads = pads = UsbPads(request(platform, "usb"))
        connect(m, self.serial.usb, pads.pins)

    def _flash(self, m, platform):
        """The flash's pins; its clock goes through a primitive, since configuration has it, too."""
        ports = request(platform, self.flash)
        flash = self.serial.flash
        # The resource inverts cs, hold and wp, which stay high.
        levels = {"cs": ~flash.cs_n, "copi": flash.copi, "hold": 0, "wp": 0}
        for name, value in levels.items():
            m.submodules[f"flash_{name}"] = pin = io.Buffer("o", getattr(ports, name))
            m.d.comb += pin.o.eq(value)
        m.submodules.flash_cipo = pin = io.Buffer("i", ports.cipo)
        m.d.comb += flash.cipo.eq(pin.i)
        m.submodules.flash_sck = Instance("USRMCLK", i_USRMCLKI=flash.sck, i_USRMCLKTS=Const(0, 1))

    def _sdram(self, m, platform):
        """The SDRAM's pins; its clock, which the loop is to drive."""
        ports = request(platform, "sdram")
        m.submodules.pads = pads = SdramPads(ports)
        connect(m, self.serial.sdram, pads.pins)
        late = Signal(name="late")
        m.domains.sdram = domain = ClockDomain(reset_less=True)
        m.d.comb += domain.clk.eq(late)
        m.submodules.sdram_clock = pin = io.DDRBuffer("o", ports.clk, o_domain="sdram")
        m.d.comb += [pin.o[0].eq(1), pin.o[1].eq(0)]
        return late


def rgb_leds(platform):
    """The three ports of a board's one coloured LED."""
    led = request(platform, "rgb_led")
    return [led.r, led.g, led.b]
