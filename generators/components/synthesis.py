"""What a component costs on a chip: its cells, counted by Yosys."""

import functools
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

from celosia.generators.verilog import to_rtlil
from celosia.sim.cache import cached, keep_only
from celosia.sim.toolchain import ToolError, run_tool
from celosia.sim.tools import tool

__all__ = [
    "TARGETS",
    "count_cells",
    "netlist",
    "run_yosys",
    "synthesise",
    "tool_key",
    "version",
]

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
            (r"DSP48E[12]", "dsp", 1),
            (r"RAMB18E[12]", "bram", 1),
            (r"RAMB36E[12]", "bram", 2),
        ],
    ),
}

# What boards of these chips say of themselves: multipliers are then asked for by name. Yosys' own
# choice on an iCE40 loses one of two products that are added.
PLATFORMS = {
    "ecp5": {"family": "ecp5"},
    "ice40": {"device": "iCE40UP5K"},
    "gowin": {"family": "GW1NR"},
    "xilinx": {"family": "series7"},
}


@functools.cache
def _version(name):
    return run_tool([*tool(name), "--version"]).strip()


def version(name):
    """The number of a tool's version.

    Raises
    ------
    ToolError
        If the tool is not there.
    """
    return re.search(r"\d+(\.\d+)+", _version(name)).group()


def tool_key(name, *parts):
    """The name, for :func:`celosia.sim.cache.cached`, of what a tool makes of ``parts``."""
    digest = hashlib.sha256("\0".join([_version(name), *parts]).encode())
    return f"{name}-{digest.hexdigest()[:32]}"


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
    return count_cells(json.loads((netlist(component, target) / "stat.json").read_text()), target)


def count_cells(stat, target):
    """The cells, as :func:`synthesise` counts them, of what Yosys' ``stat -json`` says."""
    _, kinds = TARGETS[target]
    counts = {"lut": 0, "ff": 0, "dsp": 0, "bram": 0}
    for cell, number in stat["design"]["num_cells_by_type"].items():
        for pattern, kind, weight in kinds:
            if re.fullmatch(pattern, cell):
                counts[kind] += weight * int(number)
    return counts


def netlist(component, target):
    """The folder with ``component`` as ``top.json``, mapped to ``target``, and its ``stat.json``.

    It is kept in the cache.

    Raises
    ------
    ToolError
        If there is no Yosys, or it fails.
    """
    rtlil = to_rtlil(component, platform=SimpleNamespace(**PLATFORMS[target]))
    script = f"{TARGETS[target][0]}\nwrite_json top.json\ntee -q -o stat.json stat -json"

    def build(folder):
        try:
            run_yosys(folder, rtlil, script)
        except ToolError:  # Yosys 0.70 stumbles over some names of signals: without them
            run_yosys(folder, rtlil, f"rename -hide w:*\n{script}")
        keep_only(folder, "top.json", "stat.json")

    return cached(tool_key("yosys", script, rtlil), build)


def run_yosys(folder, rtlil, script):
    """Run the commands ``script`` on the design ``rtlil`` in ``folder``.

    Raises
    ------
    ToolError
        If there is no Yosys, or it fails.
    """
    (Path(folder) / "top.il").write_text(rtlil)
    (Path(folder) / "script.ys").write_text(f"read_rtlil top.il\n{script}\n")
    run_tool([*tool("yosys"), "-q", "-s", "script.ys"], folder)
