"""The ECPIX-5: a Lattice ECP5, 100 MHz, USB serial port by an FTDI chip, four RGB LEDs."""

from amaranth_boards import ecpix5
from celosia.boards.ecp5 import ECP5_SIZES, Ecp5Flow
from celosia.boards.ecp5_top import Ecp5Board
from celosia.boards.top import request

__all__ = ["BOARDS", "Ecpix5"]


class Ecpix5(Ecp5Board):
    """What the build needs to know of an ECPIX-5.

    Parameters
    ----------
    size : str
        ``45f`` or ``85f``.

    Attributes
    ----------
    name, baud, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them.
    """

    loader = "ecpix5_r03"
    baud = 3_000_000  # an FT2232H
    source, source_clock = "clk100", 100e6

    def __init__(self, size):
        if size not in ("45f", "85f"):
            raise ValueError(f"size must be one of 45f, 85f, not {size!r}")
        self.size = size
        self.name = f"ecpix5_{size}"
        self.flow = Ecp5Flow(f"um5g-{size[:2]}k", "CABGA554", 8)
        self.resources = ECP5_SIZES[size]

    def platform(self):
        """A fresh platform of amaranth-boards."""
        return getattr(ecpix5, f"ECPIX5{self.size[:2]}Platform")()

    def leds(self, platform):
        """The green ones of the four."""
        return [request(platform, "rgb_led", number).g for number in range(4)]


BOARDS = {f"ecpix5_{size}": Ecpix5(size) for size in ("45f", "85f")}
