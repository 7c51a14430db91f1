"""Digilent's Arty A7 and AMD's KCU105: built by Vivado; USB serial port, LEDs."""

from types import MappingProxyType

from amaranth.build import Attrs
from amaranth_boards.arty_a7 import ArtyA7_35Platform, ArtyA7_100Platform
from amaranth_boards.kcu105 import KCU105Platform
from amaranth_boards.resources import UARTResource
from celosia.boards.build import BAUD
from celosia.boards.top import Top, request, uart_ports
from celosia.boards.xilinx import VivadoFlow, plan_mmcm

__all__ = ["BOARDS", "ArtyA7", "Kcu105"]

ARTY_SIZES = {
    35: {"lut": 20800, "ff": 41600, "dsp": 90, "bram": 100},
    100: {"lut": 63400, "ff": 126800, "dsp": 240, "bram": 270},
}


class _VivadoBoard:
    """What these boards share: a subclass says ``source``, ``source_clock`` and ``primitive``."""

    default_clock = 100.0
    memories = ("on_chip",)
    baud = BAUD

    def __init__(self):
        self.flow = VivadoFlow(self.synthesis, self.resources)

    def _pll(self, megahertz):
        return plan_mmcm(self.primitive, self.source_clock, megahertz * 1e6)

    def clock(self, megahertz):
        """The clock, in Hz, that the board makes for a wish of ``megahertz``."""
        return self._pll(megahertz).frequency

    def top(self, machine, megahertz, baud):
        """The board's top with this machine."""
        pll = self._pll(megahertz)
        return Top(machine, pll, baud, source=self.source, uart=uart_ports, leds=_leds)


class ArtyA7(_VivadoBoard):
    """An Arty A7: Artix-7, 100 MHz.

    Parameters
    ----------
    size : int
        35 or 100.

    Attributes
    ----------
    name, baud, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them; LUTs are LUT6.
    """

    source, source_clock, primitive = "clk100", 100e6, "MMCME2_BASE"
    synthesis = "-family xc7 -nodsp"  # the blocks that are asked for, no more
    baud = 3_000_000  # an FT2232H

    def __init__(self, size):
        if size not in ARTY_SIZES:
            raise ValueError(f"size must be one of {', '.join(map(str, ARTY_SIZES))}, not {size!r}")
        self.size, self.resources = size, ARTY_SIZES[size]
        self.name, self.loader = f"arty_a7_{size}", f"arty_a7_{size}t"
        super().__init__()

    def platform(self):
        """A fresh platform of amaranth-boards."""
        return {35: ArtyA7_35Platform, 100: ArtyA7_100Platform}[self.size]()


class Kcu105(_VivadoBoard):
    """A KCU105: Kintex UltraScale, 125 MHz (a differential clock).

    amaranth-boards does not know the pins of its serial port: K26 (TX) and G25 (RX), 1.8 V.

    Attributes
    ----------
    name, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them; LUTs are LUT6.
    """

    name = loader = "kcu105"
    resources = MappingProxyType({"lut": 242400, "ff": 484800, "dsp": 1920, "bram": 1200})
    source, source_clock, primitive = "clk125", 125e6, "MMCME3_BASE"
    synthesis = "-family xcu"

    def platform(self):
        """A fresh platform of amaranth-boards, with the serial port."""
        platform = KCU105Platform()
        uart = UARTResource(0, rx="G25", tx="K26", attrs=Attrs(IOSTANDARD="LVCMOS18"))
        platform.add_resources([uart])
        return platform


def _leds(platform):
    return [request(platform, "led", number) for number in range(4)]


BOARDS = {board.name: board for board in (*map(ArtyA7, ARTY_SIZES), Kcu105())}
