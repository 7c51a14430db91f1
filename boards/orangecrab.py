"""The OrangeCrab (r0.2): a Lattice ECP5, 48 MHz, one RGB LED, no serial chip."""

from amaranth.build import Attrs
from amaranth_boards import orangecrab_r0_2
from amaranth_boards.resources import UARTResource
from celosia.boards.ecp5 import ECP5_SIZES, Ecp5Flow
from celosia.boards.ecp5_top import Ecp5Board, rgb_leds

__all__ = ["BOARDS", "OrangeCrab"]

# Header pins 0 and 1: where boards of this shape have their serial line.
UART = UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33"))


class OrangeCrab(Ecp5Board):
    """What the build needs to know of an OrangeCrab.

    The serial line is at the header: RX, into the board, is pin 0, TX is pin 1; a USB-serial
    adapter of 3.3 V goes there. With the link ``usb`` none is needed: the USB connector's lines
    are pins of the FPGA.

    Parameters
    ----------
    size : str
        ``25f`` or ``85f``.

    Attributes
    ----------
    name, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them.
    """

    loader = "orangeCrab"
    links = ("uart", "usb")
    source, source_clock = "clk", 48e6

    def __init__(self, size):
        if size not in ("25f", "85f"):
            raise ValueError(f"size must be one of 25f, 85f, not {size!r}")
        self.size = size
        self.name = f"orangecrab_{size}"
        self.flow = Ecp5Flow(f"{size[:2]}k", "CSFBGA285", 8)
        self.resources = ECP5_SIZES[size]

    def platform(self):
        """A fresh platform of amaranth-boards, with the serial line at the header."""
        platform = getattr(orangecrab_r0_2, f"OrangeCrabR0_2_{self.size.upper()}Platform")()
        platform.add_resources([UART])
        return platform

    def leds(self, platform):
        """Red, green and blue of the one."""
        return rgb_leds(platform)


BOARDS = {f"orangecrab_{size}": OrangeCrab(size) for size in ("25f", "85f")}
