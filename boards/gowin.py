"""Gowin's GW1N and GW2A: their flow (Yosys, nextpnr-himbaechel, gowin_pack) and their loop."""

from dataclasses import dataclass, replace
from types import MappingProxyType

from amaranth import Const, Instance, Signal
from celosia.boards.clock import best_loop
from celosia.boards.nextpnr import NextpnrFlow
from celosia.sim.tools import tool

__all__ = ["GowinFlow", "GowinPll", "plan_gowin_pll"]

DIVIDERS = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)


class GowinFlow(NextpnrFlow):
    """How a Gowin is built for.

    nextpnr knows no delays of multiplier blocks: its clock leaves out the paths that start or end
    in one; a note says so.

    Parameters
    ----------
    part : str
        As ``GW2A-LV18PG256C8/I7``.
    family : str
        As ``GW2A-18C``.
    """

    files = ("top.il", "top.cst")
    synthesis = (  # all of synth_gowin but autoname, which takes minutes
        "synth_gowin -nodsp -top top -run begin:map_cells\n"
        "techmap -map +/gowin/cells_map.v\nopt_lut_ins -tech gowin\n"
        "hilomap -singleton -hicell VCC V -locell GND G\nclean\n"
        "hierarchy -check\nblackbox =A:whitebox\nwrite_json top.json"
    )
    target = "gowin"
    tools = ("yosys", "nextpnr-himbaechel-gowin", "gowin_pack")
    cells = MappingProxyType(
        {
            "lut": {"LUT4": 1, "ALU": 1, "RAM16SDP4": 4},
            "ff": {"DFF": 1},
            "dsp": {"MULT18X18": 1},
            "bram": {"BSRAM": 1},
        }
    )
    lut_share = 1.2  # nextpnr adds LUTs of its own: bench/boards/tang_nano_20k_demo_small.md
    ternary_share = 1.1  # more of the additions: bench/boards/tang_nano_9k_demo_tiny.md
    routed = MappingProxyType({"compact": (81.3, 126.8, 133.3)})
    placed = "pnr.json"
    bitstream = "top.fs"
    notes = ("fmax_mhz leaves out the paths into and out of multiplier blocks",)

    def __init__(self, part, family):
        self.part = part
        self.family = family

    def route(self, seed, megahertz, result, report):
        options = ["--device", self.part, "--vopt", f"family={self.family}"]
        options += ["--vopt", "cst=top.cst", "--json", "top.json", "--write", result]
        options += ["--report", report, "--seed", str(seed), "--freq", f"{megahertz:.6g}"]
        return [*tool("nextpnr-himbaechel-gowin"), *options, "--timing-allow-fail"]

    def pack(self, result):
        options = ["--sspi_as_gpio", "--mspi_as_gpio", "--ready_as_gpio", "--done_as_gpio"]
        return [*tool("gowin_pack"), "-d", self.family, *options, "-o", self.bitstream, result]


@dataclass(frozen=True)
class GowinPll:
    """A clock of ``source * multiply / divide``, by an rPLL.

    Its oscillator runs ``output`` times as fast.

    Parameters
    ----------
    device : str
        As ``GW2A-18C``.
    source : float
        In Hz.
    multiply, divide : int, 1 to 64
    output : int
    """

    device: str
    source: float
    multiply: int
    divide: int
    output: int

    @property
    def frequency(self):
        """In Hz."""
        return self.source * self.multiply / self.divide

    def drive(self, m, source, running):
        """Add the loop to ``m``: it makes ``running`` of ``source``, once it has locked."""
        clock, locked = Signal(name="clock"), Signal(name="locked")
        words = {"FBDSEL": 6, "IDSEL": 6, "ODSEL": 6, "PSDA": 4, "DUTYDA": 4, "FDLY": 4}
        quiet = {f"i_{name}": Const(0, width) for name, width in words.items()}
        quiet |= {f"i_{name}": Const(0, 1) for name in ("CLKFB", "RESET", "RESET_P")}
        m.submodules.pll = Instance(
            "rPLL",
            p_FCLKIN=f"{self.source / 1e6:g}",
            p_DEVICE=self.device,
            p_IDIV_SEL=self.divide - 1,
            p_FBDIV_SEL=self.multiply - 1,
            p_ODIV_SEL=self.output,
            p_DYN_SDIV_SEL=2,
            p_CLKFB_SEL="internal",
            i_CLKIN=source,
            **quiet,
            o_CLKOUT=clock,
            o_LOCK=locked,
        )
        m.submodules.gate = Instance("DQCE", i_CLKIN=clock, i_CE=locked, o_CLKOUT=running)


def plan_gowin_pll(device, source, frequency, oscillator):
    """The loop whose clock is nearest to ``frequency`` (in Hz) without exceeding it.

    Parameters
    ----------
    device : str
    source, frequency : float
        In Hz.
    oscillator : tuple of float
        The data sheet's range of the oscillator, in Hz; the loop compares at 3 MHz or more.

    Raises
    ------
    ValueError
        If no clock within 2 % of it can be made.
    """
    dividers = [n for n in range(1, 65) if source / n >= 3e6]
    loops = [GowinPll(device, source, n, d, 0) for n in range(1, 65) for d in dividers]
    found = []
    for loop in sorted(loops, key=lambda loop: loop.divide):
        output = [n for n in DIVIDERS if oscillator[0] <= loop.frequency * n <= oscillator[1]]
        found += [replace(loop, output=n) for n in output[:1]]
    return best_loop(found, source, frequency)
