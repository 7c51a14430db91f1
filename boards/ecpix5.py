"""The ECPIX-5: a Lattice ECP5, 100 MHz, USB serial port by an FTDI chip, four RGB LEDs."""

from amaranth_boards import ecpix5
from celosia.boards.ecp5 import ECP5_SIZES, Ecp5Flow
from celosia.boards.pll import plan_pll
from celosia.boards.top import Top, request, uart_ports

__all__ = ["BOARDS", "Ecpix5"]

SOURCE = 100e6


class Ecpix5:
    """What the build needs to know of an ECPIX-5.

    Parameters
    ----------
    size : str
        ``45f`` or ``85f``.

    Attributes
    ----------
    name, resources, flow
        As :class:`celosia.boards.ulx3s.Ulx3s` has them.
    """

    default_clock = 80.0
    loader = "ecpix5_r03"
    memories = ("on_chip",)

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

    def clock(self, megahertz):
        """The clock, in Hz, that the board makes for a wish of ``megahertz``."""
        return plan_pll(SOURCE, megahertz * 1e6).frequency

    def top(self, machine, megahertz, baud):
        """The board's top with this machine; LEDs: the green ones of the four."""
        pll = plan_pll(SOURCE, megahertz * 1e6)
        return Top(machine, pll, baud, source="clk100", uart=uart_ports, leds=_leds)


def _leds(platform):
    return [request(platform, "rgb_led", number).g for number in range(4)]


BOARDS = {f"ecpix5_{size}": Ecpix5(size) for size in ("45f", "85f")}
