"""The ULX3S: a Lattice ECP5, 25 MHz, USB serial port by an FTDI chip, eight LEDs."""

from amaranth import ClockDomain, Const, Instance, Signal
from amaranth.lib import io
from amaranth.lib.wiring import connect
from amaranth_boards import ulx3s
from celosia.boards.ecp5 import ECP5_SIZES, Ecp5Flow
from celosia.boards.pll import plan_pll
from celosia.boards.sdram_pads import SdramPads, clock_delay
from celosia.boards.top import Top, request, uart_ports
from celosia.rtl.memory.sdram_bursts import CAPACITY

__all__ = ["BOARDS", "Ulx3s", "Ulx3sTop"]

SOURCE = 25e6


class Ulx3s:
    """What the build needs to know of a ULX3S.

    Parameters
    ----------
    size : str
        ``12f``, ``25f``, ``45f`` or ``85f``.

    Attributes
    ----------
    name : str
    resources : dict
        Available ``lut`` (LUT4), ``ff``, ``dsp`` (18 x 18), ``bram`` (18 Kbit) and ``sdram``
        (bytes).
    flow : Ecp5Flow
    """

    default_clock = 80.0
    loader = "ulx3s"
    memories = ("on_chip", "sdram")

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

    def clock(self, megahertz):
        """The clock, in Hz, that the board makes for a wish of ``megahertz``."""
        return plan_pll(SOURCE, megahertz * 1e6).frequency

    def sdram_delay(self, megahertz):
        """How many cycles of the loop's oscillator later the SDRAM gets a clock of ``megahertz``.

        Raises
        ------
        ValueError
            If none is right.
        """
        pll = plan_pll(SOURCE, megahertz * 1e6)
        return clock_delay(pll.frequency, pll.divide)

    def top(self, machine, megahertz, baud):
        """The board's top with this machine."""
        return Ulx3sTop(machine, megahertz, baud)


class Ulx3sTop(Top):
    """A machine at the pins of a ULX3S (:class:`celosia.boards.top.Top`).

    The SDRAM, if the machine has one, gets the same clock ``late`` cycles of the loop's oscillator
    later.

    Parameters
    ----------
    machine : celosia.rtl.machine.machine.Machine
    megahertz : float
    baud : int
    """

    def __init__(self, machine, megahertz, baud):
        pll = plan_pll(SOURCE, megahertz * 1e6)
        super().__init__(machine, pll, baud, source="clk25", uart=uart_ports, leds=_leds)
        self.late = 0
        if self.serial.has_sdram:
            self.late = clock_delay(self.pll.frequency, self.pll.divide)

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.serial.has_flash:
            self._flash(m, platform)
        return m

    def drive_clock(self, m, platform, source, running):
        late = self._sdram(m, platform) if self.serial.has_sdram else None
        self.pll.drive(m, source, running, late, self.late)

    def _flash(self, m, platform):
        """The flash's pins; its clock goes through a primitive, since configuration has it, too."""
        ports = request(platform, "spi_flash")
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


def _leds(platform):
    return [request(platform, "led", number) for number in range(4)]


BOARDS = {f"ulx3s_{size}": Ulx3s(size) for size in ECP5_SIZES}
