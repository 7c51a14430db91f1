"""Lattice's iCE40 UltraPlus: its flow (Yosys, nextpnr-ice40, icepack) and its clock."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from amaranth import ClockDomain, Instance, Signal
from celosia.boards.clock import best_loop
from celosia.boards.nextpnr import NextpnrFlow
from celosia.sim.tools import tool

__all__ = ["Ice40Flow", "Ice40Pll", "plan_ice40_pll"]

OSCILLATOR = (533e6, 1066e6)  # the data sheet's range, in Hz
OUTPUT = (16e6, 275e6)
WAIT = 10  # bits of the counter of cycles before the start: block RAMs are late


class Ice40Flow(NextpnrFlow):
    """How an iCE40 UP5K is built for.

    Parameters
    ----------
    package : str
    """

    tools = ("yosys", "nextpnr-ice40", "icepack")
    files = ("top.il", "top.pcf")
    routed = MappingProxyType({"compact": (26.7, 26.8, 27.5, 27.9)})
    synthesis = "synth_ice40 -device u -top top -json top.json"
    cells = MappingProxyType(
        {
            "lut": {"ICESTORM_LC": 1},
            "dsp": {"ICESTORM_DSP": 1},
            "bram": {"ICESTORM_RAM": 1},
            "spram": {"ICESTORM_SPRAM": 1},
        }
    )
    lut_share = 1.0
    placed = "asc"
    bitstream = "top.bin"

    def __init__(self, package):
        self.package = package

    def route(self, seed, megahertz, result, report):
        options = ["--up5k", "--package", self.package, "--json", "top.json", "--pcf", "top.pcf"]
        options += ["--asc", result, "--report", report, "--seed", str(seed)]
        options += ["--freq", f"{megahertz:.6g}", "--timing-allow-fail"]
        return [*tool("nextpnr-ice40"), *options]

    def pack(self, result):
        return [*tool("icepack"), result, self.bitstream]

    def read_report(self, path):
        """nextpnr's report; flip-flops, which lie in its logic cells, of Yosys' counts."""
        found = super().read_report(path)
        clocks = json.loads(Path(path).read_text())["fmax"].values()
        found["fmax_mhz"] = min(clock["achieved"] for clock in clocks)  # all have the same rate
        counts = (Path(path).parent / "stat.txt").read_text()
        used = sum(int(n) for n in re.findall(r"^ +(\d+) +SB_DFF\w*$", counts, re.MULTILINE))
        return {**found, "ff": {"used": used, "available": found["lut"]["available"]}}


@dataclass(frozen=True)
class Ice40Pll:
    """A clock of ``source * multiply / 2**divide``.

    Parameters
    ----------
    source : float
        In Hz.
    multiply, divide : int
    """

    source: float
    multiply: int
    divide: int

    @property
    def frequency(self):
        """In Hz."""
        return self.source * self.multiply / (1 << self.divide)

    def drive(self, m, source, running):
        """Add the loop on the pad ``source`` and what gates its clock until it has locked."""
        clock, locked, open_ = Signal(name="clock"), Signal(name="locked"), Signal(name="open")
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=0,
            p_DIVF=self.multiply - 1,
            p_DIVQ=self.divide,
            p_FILTER_RANGE=1,
            io_PACKAGEPIN=source,
            i_RESETB=1,
            i_BYPASS=0,
            o_PLLOUTCORE=clock,
            o_LOCK=locked,
        )
        m.domains.loop = loop = ClockDomain(reset_less=True)
        m.domains.gate = gate = ClockDomain(reset_less=True, clk_edge="neg")
        waited = Signal(WAIT + 1)
        m.d.comb += [loop.clk.eq(clock), gate.clk.eq(clock)]
        with_lock = waited + (locked & ~waited[-1])
        m.d.loop += waited.eq(with_lock)
        m.d.gate += open_.eq(waited[-1])
        m.submodules.gate = Instance(
            "SB_GB",
            i_USER_SIGNAL_TO_GLOBAL_BUFFER=clock & open_,
            o_GLOBAL_BUFFER_OUTPUT=running,
        )


def plan_ice40_pll(source, frequency):
    """The loop whose clock is nearest to ``frequency`` (in Hz) without exceeding it.

    Raises
    ------
    ValueError
        If no clock within 2 % of it can be made.
    """
    loops = [
        Ice40Pll(source, multiply, divide)
        for multiply in range(1, 129)
        for divide in range(1, 7)
        if OSCILLATOR[0] <= source * multiply <= OSCILLATOR[1]
    ]
    loops = [loop for loop in loops if OUTPUT[0] <= loop.frequency <= OUTPUT[1]]
    return best_loop(loops, source, frequency)
