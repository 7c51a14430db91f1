"""The ULX3S: a Lattice ECP5, 25 MHz, USB serial port by an FTDI chip, eight LEDs."""

from types import MappingProxyType

from amaranth import ClockDomain, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.wiring import connect
from amaranth_boards import ulx3s
from celosia.boards.pll import plan_pll
from celosia.boards.sdram_pads import SdramPads, clock_delay
from celosia.boards.serial_machine import SerialMachine

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
        Available ``lut`` (LUT4), ``ff``, ``dsp`` (18 x 18) and ``bram`` (18 Kbit).
    """

    family = "ecp5"
    package = "CABGA381"
    speed = 6
    default_clock = 80.0
    loader = "ulx3s"
    sizes = MappingProxyType(
        {  # nextpnr's option; LUT4, 18 x 18 multipliers, block RAMs
            "12f": ("--12k", 24288, 28, 56),
            "25f": ("--25k", 24288, 28, 56),
            "45f": ("--45k", 43848, 72, 108),
            "85f": ("--85k", 83640, 156, 208),
        }
    )

    def __init__(self, size):
        if size not in self.sizes:
            raise ValueError(f"size must be one of {', '.join(self.sizes)}, not {size!r}")
        self.size = size
        self.name = f"ulx3s_{size}"
        self.device, lut, dsp, bram = self.sizes[size]
        self.resources = {"lut": lut, "ff": lut, "dsp": dsp, "bram": bram}

    def platform(self):
        """A fresh platform of amaranth-boards."""
        return getattr(ulx3s, f"ULX3S_{self.size.upper()}_Platform")()

    def clock(self, megahertz):
        """The clock, in Hz, that the board makes for a wish of ``megahertz``."""
        return plan_pll(SOURCE, megahertz * 1e6).frequency

    def top(self, machine, megahertz, baud):
        """The board's top with this machine."""
        return Ulx3sTop(machine, megahertz, baud)


class Ulx3sTop(Elaboratable):
    """A machine at the pins of a ULX3S.

    The clock starts when the loop has locked, with every register at its initial value; there is
    no reset. LEDs: 0 clock, 1 a run is under way, 2 and 3 bytes received and sent. The SDRAM, if
    the machine has one, gets the same clock ``late`` cycles of the loop's oscillator later.

    Parameters
    ----------
    machine : celosia.rtl.machine.Machine
    megahertz : float
    baud : int
    """

    def __init__(self, machine, megahertz, baud):
        self.pll = plan_pll(SOURCE, megahertz * 1e6)
        self.serial = SerialMachine(machine, self.pll.frequency, baud)
        self.late = 0
        if self.serial.has_sdram:
            self.late = clock_delay(self.pll.frequency, self.pll.divide)

    def elaborate(self, platform):
        m = Module()
        clock, locked = Signal(name="clock"), Signal(name="locked")
        running = Signal(name="running")
        m.domains.sync = domain = ClockDomain(reset_less=True)
        source = platform.request("clk25", 0, dir="-")
        m.submodules.source = buffer = io.Buffer("i", source)
        if self.serial.has_sdram:
            late = self._sdram(m, platform)
            m.submodules.pll = self.pll.instance(buffer.i, clock, locked, late, self.late)
        else:
            m.submodules.pll = self.pll.instance(buffer.i, clock, locked)
        m.submodules.gate = Instance("DCCA", i_CLKI=clock, i_CE=locked, o_CLKO=running)
        m.d.comb += domain.clk.eq(running)
        platform.add_clock_constraint(running, self.pll.frequency)

        m.submodules.serial = serial = self.serial
        uart = platform.request("uart", 0, dir={"rx": "-", "tx": "-", "rts": "-", "dtr": "-"})
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [serial.rx.eq(rx.i), tx.o.eq(serial.tx)]
        for number in range(len(serial.leds)):
            m.submodules[f"led_{number}"] = led = io.Buffer(
                "o", platform.request("led", number, dir="-")
            )
            m.d.comb += led.o.eq(serial.leds[number])
        if serial.has_flash:
            self._flash(m, platform)
        return m

    def _flash(self, m, platform):
        """The flash's pins; its clock goes through a primitive, since configuration has it, too."""
        names = ("cs", "copi", "cipo", "hold", "wp")
        ports = platform.request("spi_flash", 0, dir=dict.fromkeys(names, "-"))
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
        directions = dict.fromkeys(
            ("clk", "clk_en", "cs", "we", "ras", "cas", "ba", "a", "dq", "dqm"), "-"
        )
        ports = platform.request("sdram", 0, dir=directions)
        m.submodules.pads = pads = SdramPads(ports)
        connect(m, self.serial.sdram, pads.pins)
        late = Signal(name="late")
        m.domains.sdram = domain = ClockDomain(reset_less=True)
        m.d.comb += domain.clk.eq(late)
        m.submodules.sdram_clock = pin = io.DDRBuffer("o", ports.clk, o_domain="sdram")
        m.d.comb += [pin.o[0].eq(1), pin.o[1].eq(0)]
        return late


BOARDS = {f"ulx3s_{size}": Ulx3s(size) for size in Ulx3s.sizes}
