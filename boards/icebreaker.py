"""The iCEBreaker: a Lattice iCE40 UP5K, 12 MHz, USB serial port, serial flash, two LEDs."""

from types import MappingProxyType

from amaranth.lib import io
from amaranth_boards import icebreaker
from celosia.boards.ice40 import Ice40Flow, plan_ice40_pll
from celosia.boards.top import Top, request, uart_ports

__all__ = ["BOARDS", "IceBreaker", "IceBreakerTop"]

SOURCE = 12e6


class IceBreaker:
    """What the build needs to know of an iCEBreaker.

    Its machine is the compact one; the weights lie in the chip's four single-port memories, which
    are filled from the flash.

    Attributes
    ----------
    name, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them; block RAMs have 4 Kbit,
        ``spram`` is in bytes.
    """

    name = "icebreaker"
    default_clock = 24.0
    memories = ("on_chip",)
    machines = ("compact",)
    loader = "ice40_generic"
    baud = 3_000_000  # an FT2232H
    flow = Ice40Flow("sg48")
    resources = MappingProxyType({"lut": 5280, "ff": 5280, "dsp": 8, "bram": 30, "spram": 1 << 17})

    def platform(self):
        """A fresh platform of amaranth-boards."""
        return icebreaker.ICEBreakerPlatform()

    def clock(self, megahertz):
        """The clock, in Hz, that the board makes for a wish of ``megahertz``."""
        return plan_ice40_pll(SOURCE, megahertz * 1e6).frequency

    def top(self, machine, megahertz, baud):
        """The board's top with this machine."""
        return IceBreakerTop(machine, plan_ice40_pll(SOURCE, megahertz * 1e6), baud)


class IceBreakerTop(Top):
    """A machine at the pins of an iCEBreaker; see :class:`celosia.boards.top.Top`.

    Two LEDs; the flash, if the machine has one.
    """

    def __init__(self, machine, pll, baud):
        super().__init__(machine, pll, baud, source="clk12", uart=uart_ports, leds=_leds)

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.serial.has_flash:
            ports, flash = request(platform, "spi_flash_1x"), self.serial.flash
            # The resource inverts cs, hold and wp, which stay high.
            levels = {"cs": ~flash.cs_n, "clk": flash.sck, "copi": flash.copi, "hold": 0, "wp": 0}
            for name, value in levels.items():
                m.submodules[f"flash_{name}"] = pin = io.Buffer("o", getattr(ports, name))
                m.d.comb += pin.o.eq(value)
            m.submodules.flash_cipo = pin = io.Buffer("i", ports.cipo)
            m.d.comb += flash.cipo.eq(pin.i)
        return m

    def clock_pin(self, m, platform):
        """The pad itself: the loop has its buffer."""
        return request(platform, self.source).io


def _leds(platform):
    return [request(platform, "led", number) for number in range(2)]


BOARDS = {"icebreaker": IceBreaker()}
