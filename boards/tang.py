"""Sipeed's Tang Nano 9K and 20K and Tang Primer 20K: Gowin chips, 27 MHz, USB serial port, LEDs."""

from types import MappingProxyType

from amaranth_boards import tang_nano_9k, tang_primer_20k
from celosia.boards.build import BAUD
from celosia.boards.gowin import GowinFlow, plan_gowin_pll
from celosia.boards.platforms import TangNano20kPlatform
from celosia.boards.top import Top, request, uart_ports

__all__ = ["BOARDS", "TangNano9k", "TangNano20k", "TangPrimer20k"]

SOURCE = 27e6


class _Tang:
    """What these boards share: a subclass says ``name``, ``resources``, ``flow`` and the loop's."""

    default_clock = 48.0
    memories = ("on_chip",)
    baud = BAUD

    def _pll(self, megahertz):
        return plan_gowin_pll(self.flow.family, SOURCE, megahertz * 1e6, self.oscillator)

    def clock(self, megahertz):
        """The clock, in Hz, that the board makes for a wish of ``megahertz``."""
        return self._pll(megahertz).frequency

    def top(self, machine, megahertz, baud):
        """The board's top with this machine."""
        pll = self._pll(megahertz)
        return Top(machine, pll, baud, source="clk27", uart=uart_ports, leds=_leds)


class TangNano9k(_Tang):
    """A Tang Nano 9K: GW1NR-9, 27 MHz.

    Attributes
    ----------
    name, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them.
    """

    name = "tang_nano_9k"
    loader = "tangnano9k"
    flow = GowinFlow("GW1NR-LV9QN88PC6/I5", "GW1N-9C")
    resources = MappingProxyType({"lut": 8640, "ff": 6480, "dsp": 20, "bram": 26})
    oscillator = (400e6, 1200e6)

    def platform(self):
        """A fresh platform of amaranth-boards."""
        return tang_nano_9k.TangNano9kPlatform()


class TangNano20k(_Tang):
    """A Tang Nano 20K: GW2AR-18, 27 MHz. The SDRAM in the chip's package is not used.

    Attributes
    ----------
    name, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them.
    """

    name = "tang_nano_20k"
    loader = "tangnano20k"
    flow = GowinFlow("GW2AR-LV18QN88C8/I7", "GW2A-18C")
    resources = MappingProxyType({"lut": 20736, "ff": 15552, "dsp": 48, "bram": 46})
    oscillator = (500e6, 1250e6)

    def platform(self):
        """A fresh platform."""
        return TangNano20kPlatform()


class TangPrimer20k(_Tang):
    """A Tang Primer 20K on its dock: GW2A-18, 27 MHz.

    Attributes
    ----------
    name, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them.
    """

    name = "tang_primer_20k"
    loader = "tangprimer20k"
    flow = GowinFlow("GW2A-LV18PG256C8/I7", "GW2A-18C")
    resources = MappingProxyType({"lut": 20736, "ff": 15552, "dsp": 48, "bram": 46})
    oscillator = (500e6, 1250e6)

    def platform(self):
        """A fresh platform of amaranth-boards."""
        return tang_primer_20k.TangPrimer20kDockPlatform()


def _leds(platform):
    return [request(platform, "led", number) for number in range(4)]


BOARDS = {board.name: board for board in (TangNano9k(), TangNano20k(), TangPrimer20k())}
