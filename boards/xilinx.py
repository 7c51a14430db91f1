"""AMD's 7 series and UltraScale: Vivado's project, what Yosys counts, and their loop."""

import json
import re
from dataclasses import dataclass
from types import MappingProxyType

from amaranth import Instance, Signal
from celosia.boards.clock import best_loop
from celosia.boards.stage import Stage, check_clock
from celosia.generators.components.synthesis import count_cells
from celosia.sim.toolchain import ToolError, which
from celosia.sim.tools import tool

from celosia.output import write_text

__all__ = ["Mmcm", "VivadoFlow", "plan_mmcm"]

OSCILLATOR = (600e6, 1200e6)  # the data sheets' range for the slowest speed grade, in Hz


class VivadoFlow:
    """How an AMD chip is built for: Vivado's script and constraints; Vivado itself if it is there.

    Parameters
    ----------
    synthesis : str
        Options of Yosys' synthesis.
    resources : dict
        What the chip has: ``lut`` (LUT6), ``ff``, ``dsp`` and ``bram`` (18 Kbit).
    """

    files = ("top.v", "top.xdc", "top.tcl", "build_top.sh")
    tools = ("yosys",)
    lut_share = 0.75  # measured: bench/boards/arty_a7_100.json, with some reserve
    bitstream = "top.bit"
    routed = MappingProxyType({})

    def __init__(self, synthesis, resources):
        self.synthesis = synthesis
        self.resources = resources

    def check_tools(self):
        """Raise a :class:`celosia.sim.toolchain.ToolError` if one of the tools is missing."""
        tool("yosys")

    def build(self, folder, wanted, *, seeds, allow_fail, say):
        """The bitstream of the design in ``folder``, for ``wanted`` MHz, if Vivado is on the PATH.

        Resources are counted by Yosys. Returns and raises as :func:`celosia.boards.build.build`.
        """
        found = {
            name: {"used": number, "available": self.resources[name]}
            for name, number in self.count(folder, say).items()
        }
        if which("vivado") is None:
            note = f"no bitstream: vivado is not on the PATH; run build_top.sh in {folder}"
            say(note)
            return {"fmax_mhz": None, **found, "seed": None, "bitstream": None, "notes": [note]}
        names = (self.bitstream, "top_timing.rpt")
        stage = Stage(folder, "implement", ("top.v", "top.xdc", "top.tcl"), names, say)
        stage.run(["vivado", "-mode", "batch", "-source", "top.tcl"])
        fmax = _fmax(folder / "top_timing.rpt", wanted)
        check_clock(fmax, wanted, 1, allow_fail)
        bitstream = str(folder / self.bitstream)
        return {"fmax_mhz": fmax, **found, "seed": None, "bitstream": bitstream, "notes": []}

    def count(self, folder, say):
        """The cells of the design in ``folder``: ``{"lut", "ff", "dsp", "bram"}``."""
        write_text(
            folder / "count.ys",
            "read_verilog top.v\nrename -hide w:*\n"
            f"synth_xilinx {self.synthesis} -flatten -noiopad -top top -run begin:check\n"
            "tee -q -o count.json stat -json\n",
        )
        stage = Stage(folder, "count", ("top.v", "count.ys"), ("count.json",), say)
        stage.run([*tool("yosys"), "-q", "-l", "yosys.log", "count.ys"])
        return count_cells(json.loads((folder / "count.json").read_text()), "xilinx")


def _fmax(path, wanted):
    """The clock, in MHz, that the worst slack of Vivado's timing summary leaves."""
    found = re.search(r"WNS\(ns\).*\n[ -]+\n +(-?[0-9.]+) ", path.read_text())
    if found is None:
        raise ToolError(f"{path} is no timing summary of Vivado's")
    return 1000 / (1000 / wanted - float(found[1]))


@dataclass(frozen=True)
class Mmcm:
    """A clock of ``source * multiply / divide``.

    Parameters
    ----------
    primitive : str
        ``MMCME2_BASE`` (7 series) or ``MMCME3_BASE`` (UltraScale).
    source : float
        In Hz.
    multiply, divide : int
    """

    primitive: str
    source: float
    multiply: int
    divide: int

    @property
    def frequency(self):
        """In Hz."""
        return self.source * self.multiply / self.divide

    def drive(self, m, source, running):
        """Add the loop to ``m``: it makes ``running`` of ``source``, once it has locked."""
        clock, locked = Signal(name="clock"), Signal(name="locked")
        feedback = Signal(name="feedback")
        m.submodules.pll = Instance(
            self.primitive,
            p_CLKIN1_PERIOD=1e9 / self.source,
            p_CLKFBOUT_MULT_F=float(self.multiply),
            p_DIVCLK_DIVIDE=1,
            p_CLKOUT0_DIVIDE_F=float(self.divide),
            i_CLKIN1=source,
            i_CLKFBIN=feedback,
            i_PWRDWN=0,
            i_RST=0,
            o_CLKFBOUT=feedback,
            o_CLKOUT0=clock,
            o_LOCKED=locked,
        )
        m.submodules.gate = Instance("BUFGCE", i_I=clock, i_CE=locked, o_O=running)


def plan_mmcm(primitive, source, frequency):
    """The loop whose clock is nearest to ``frequency`` (in Hz) without exceeding it.

    Raises
    ------
    ValueError
        If no clock within 2 % of it can be made.
    """
    multiples = [n for n in range(2, 65) if OSCILLATOR[0] <= source * n <= OSCILLATOR[1]]
    loops = [Mmcm(primitive, source, n, divide) for n in multiples for divide in range(1, 129)]
    return best_loop(loops, source, frequency)
