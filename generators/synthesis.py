"""What a component costs on a chip: Yosys for its cells, nextpnr for its clock."""

import importlib.util
import json
import re
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from celosia.generators.verilog import to_rtlil
from celosia.sim.toolchain import ToolError, run_tool

__all__ = ["TARGETS", "fmax", "run_yosys", "synthesise"]

SEEDS = (1, 2, 3)

# For each target the synthesis command, and what its cells count: (pattern, kind, number).
TARGETS = {
    "ecp5": (
        "synth_ecp5 -top top",
        [
            (r"LUT4", "lut", 1),
            (r"CCU2C", "lut", 2),
            (r"TRELLIS_DPR16X4", "lut", 6),
            (r"TRELLIS_FF", "ff", 1),
            (r"MULT\d+X\d+D", "dsp", 1),
            (r"DP16KD|PDPW16KD", "bram", 1),
        ],
    ),
    "ice40": (
        "synth_ice40 -device u -dsp -top top",
        [
            (r"SB_LUT4", "lut", 1),
            (r"SB_DFF.*", "ff", 1),
            (r"SB_MAC16", "dsp", 1),
            (r"SB_RAM40_4K.*", "bram", 1),
        ],
    ),
    "gowin": (
        "synth_gowin -top top",
        [
            (r"LUT\d|ALU", "lut", 1),
            (r"RAM16SDP\d", "lut", 4),
            (r"DFF.*", "ff", 1),
            (r"MULT.*", "dsp", 1),
            (r"S?DPX?9?B|SPX?9?|pROMX?9?", "bram", 1),
        ],
    ),
    "xilinx": (
        "synth_xilinx -family xc7 -flatten -noiopad -top top",
        [
            (r"LUT\d|SRL.*", "lut", 1),
            (r"RAM32M|RAM64M", "lut", 4),
            (r"RAM\d+X1D", "lut", 2),
            (r"FD.*", "ff", 1),
            (r"DSP48E1", "dsp", 1),
            (r"RAMB18E1", "bram", 1),
            (r"RAMB36E1", "bram", 2),
        ],
    ),
}


def _tool(name):
    """The command of a tool on the PATH, or of its wheel ``yowasp-...``."""
    for command in (name, f"yowasp-{name}"):
        if shutil.which(command):
            return [command]
    package = f"yowasp_{name.replace('-', '_')}"
    if importlib.util.find_spec(package) is None:
        raise ToolError(f"{name} is not there: pip install yowasp-{name}")
    call = f"run_{name.replace('-', '_')}(sys.argv[1:])"
    return [sys.executable, "-c", f"import sys, {package} as p; sys.exit(p.{call})"]


class _Registered(wiring.Component):
    """``component`` between registers, so that a chip's clock covers its inputs and outputs."""

    def __init__(self, component):
        self.component = component
        super().__init__(
            {
                "__".join(map(str, path)): (In if member.flow == wiring.In else Out)(
                    _width_of(value)
                )
                for path, member, value in component.signature.flatten(component)
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = self.component
        for path, member, value in self.component.signature.flatten(self.component):
            port = getattr(self, "__".join(map(str, path)))
            value = value if not hasattr(value, "as_value") else value.as_value()
            m.d.sync += value.eq(port) if member.flow == wiring.In else port.eq(value)
        return m


def _width_of(value):
    return len(value.as_value() if hasattr(value, "as_value") else value)


def synthesise(component, target):
    """The cells of ``component`` on ``target``: ``{"lut", "ff", "dsp", "bram"}``.

    LUT are LUT4 on ecp5, ice40 and gowin (carry cells included where they take a LUT's place) and
    LUT6 on xilinx; a block RAM holds 18 Kbit (ice40: 4 Kbit); a DSP is one hard multiplier.

    Raises
    ------
    ToolError
        If there is no Yosys, or it fails.
    ValueError
        If there is no such target.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    command, kinds = TARGETS[target]
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        rtlil = to_rtlil(component, platform=SimpleNamespace(family=target))
        run_yosys(folder, rtlil, f"{command}\ntee -q -o stat.json stat -json")
        stat = json.loads((Path(folder) / "stat.json").read_text())
    counts = {"lut": 0, "ff": 0, "dsp": 0, "bram": 0}
    for cell, number in stat["design"]["num_cells_by_type"].items():
        for pattern, kind, weight in kinds:
            if re.fullmatch(pattern, cell):
                counts[kind] += weight * int(number)
    return counts


def run_yosys(folder, rtlil, script):
    """Run the commands ``script`` on the design ``rtlil`` in ``folder``.

    Raises
    ------
    ToolError
        If there is no Yosys, or it fails.
    """
    (Path(folder) / "top.il").write_text(rtlil)
    (Path(folder) / "script.ys").write_text(f"read_rtlil top.il\n{script}\n")
    run_tool([*_tool("yosys"), "-q", "-s", "script.ys"], folder)


def fmax(component, seeds=SEEDS, device="85k", speed=6):
    """The clock in MHz that ``component`` reaches on an ECP5 after routing, alone on the chip.

    All its ports end in registers, which are part of the paths. The median of one run for each of
    ``seeds``.

    Raises
    ------
    ToolError
        If there is no Yosys or nextpnr, or one fails.
    """
    reached = []
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        command, _ = TARGETS["ecp5"]
        rtlil = to_rtlil(_Registered(component), platform=SimpleNamespace(family="ecp5"))
        run_yosys(folder, rtlil, f"{command} -json top.json")
        for seed in seeds:
            options = ["--json", "top.json", f"--{device}", "--package", "CABGA381"]
            options += ["--speed", str(speed), "--seed", str(seed), "--out-of-context"]
            options += ["--timing-allow-fail", "--freq", "150", "--report", "report.json"]
            run_tool([*_tool("nextpnr-ecp5"), *options], folder)
            report = json.loads((Path(folder) / "report.json").read_text())
            reached += [min(clock["achieved"] for clock in report["fmax"].values())]
    return round(statistics.median(reached), 1)
