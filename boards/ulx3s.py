"""The ULX3S: a Lattice ECP5, 25 MHz, USB serial port by an FTDI chip, eight LEDs."""

from amaranth_boards import ulx3s
from celosia.boards.ecp5 import ECP5_SIZES, Ecp5Flow
from celosia.boards.ecp5_top import Ecp5Board
from celosia.rtl.memory.sdram_bursts import CAPACITY

__all__ = ["BOARDS", "Ulx3s"]


class Ulx3s(Ecp5Board):
    """What the build needs to know of a ULX3S.

    Parameters
    ----------
    size : str
        ``12f``, ``25f``, ``45f`` or ``85f``.

    Attributes
    ----------
    name : str
    baud : int
        Bits per second that the board's serial bridge carries, where it is known, up to 3 million.
    resources : dict
        Available ``lut`` (LUT4), ``ff``, ``dsp`` (18 x 18), ``bram`` (18 Kbit) and ``sdram``
        (bytes).
    flow : Ecp5Flow
    """

    loader = "ulx3s"
    baud = 3_000_000  # an FT231X
    memories = ("on_chip", "sdram")
    links = ("uart", "usb")  # the FTDI's connector, US1; the FPGA's own, US2
    source, source_clock = "clk25", 25e6

    def __init__(self, size):
        if size not in ECP5_SIZES:
            raise ValueError(f"size must be one of {', '.join(ECP5_SIZES)}, not {size!r}")
        self.size = size
        self.name = f"ulx3s_{size}"
        device = {"12f": "12k", "25f": "25k", "45f": "45k", "85f": "85k"}[size]
        self.flow = Ecp5Flow(device, "CABGA381", 6)
        self.resources = {**ECP5_SIZES[size], "sdram": 2 * CAPACITY}

    def platform(self):
        """A fresh platform of amaranth-boards."""
        return getattr(ulx3s, f"ULX3S_{self.size.upper()}_Platform")()


BOARDS = {f"ulx3s_{size}": Ulx3s(size) for size in ECP5_SIZES}
