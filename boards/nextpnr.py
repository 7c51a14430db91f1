"""Builds by open tools: Yosys, nextpnr, and the packer of the family."""

import json
from collections import Counter
from pathlib import Path
from types import MappingProxyType

from celosia.boards.stage import Stage, check_clock
from celosia.generators.components.synthesis import count_cells
from celosia.sim.tools import tool

from celosia.output import write_text

__all__ = ["NextpnrFlow"]


class NextpnrFlow:
    """How a family's chips are built for: synthesis, placements, bitstream.

    A family says in a class of its own what is below, and gives the two commands.

    Attributes
    ----------
    files : tuple of str
        The design, ``top.il``, and the constraints, of amaranth's platform.
    synthesis : str
        Yosys' command, which writes ``top.json``.
    target : str
        The family's name in :data:`celosia.generators.components.synthesis.TARGETS`.
    cells : dict
        For ``lut``, ``ff``, ``dsp`` and ``bram`` the cells in nextpnr's report:
        ``{cell: how many of these it is}``; there are as many as of the first.
    lut_share : float
        LUTs that do what one LUT4 of an ECP5 does (:func:`celosia.boards.estimate.estimate`).
    ternary_share : float, optional
        By what that is to be multiplied for a machine of ternary weights.
    tools : tuple of str
        What it takes.
    placed : str
        The ending of nextpnr's result.
    bitstream : str
        The file that the packer makes.
    notes : tuple of str
        What is to be said of every build.
    routed : dict of str to tuple of float
        By the machine's name the clocks in MHz that routed designs of the family reached, whatever
        their chip's size and speed grade: those of ``bench/boards``.
    """

    placed = "config"
    bitstream = "top.bit"
    notes = ()
    routed = MappingProxyType({})

    def route(self, seed, megahertz, result, report):
        """nextpnr's command: ``top.json`` to the files ``result`` and ``report``."""
        raise NotImplementedError

    def pack(self, result):
        """The packer's command: the file ``result`` to ``bitstream``."""
        raise NotImplementedError

    def check_tools(self):
        """Raise a :class:`celosia.sim.toolchain.ToolError` if one of the tools is missing."""
        for name in self.tools:
            tool(name)

    def synthesise(self, folder, say):
        """``top.json`` of the design in ``folder``."""
        script = f"read_rtlil top.il\n{self.synthesis}\ntee -o stat.txt stat\n"
        write_text(folder / "synthesis.ys", script)
        synthesis = Stage(folder, "synthesis", ("top.il", "synthesis.ys"), ("top.json",), say)
        synthesis.run([*tool("yosys"), "-q", "-l", "yosys.log", "synthesis.ys"])

    def count(self, folder, say):
        """The cells of the design in ``folder``: ``{"lut", "ff", "dsp", "bram"}``."""
        self.synthesise(folder, say)
        netlist = json.loads((folder / "top.json").read_text())
        kinds = Counter(cell["type"] for cell in netlist["modules"]["top"]["cells"].values())
        return count_cells({"design": {"num_cells_by_type": kinds}}, self.target)

    def build(self, folder, wanted, *, seeds, allow_fail, say):
        """The bitstream of the design in ``folder``, for ``wanted`` MHz.

        Returns and raises as :func:`celosia.boards.build.build`.
        """
        self.synthesise(folder, say)
        best = None
        for seed in range(1, seeds + 1):
            report = self._route(folder, seed, wanted, say)
            if best is None or _share(report, wanted) > _share(best, wanted):
                best = report
            say(f"seed {seed}: {report['fmax_mhz']:.2f} MHz for {wanted:.2f} MHz")
            if _share(report, wanted) >= 1:
                break
        check_clock(best["fmax_mhz"], wanted, seeds, allow_fail, self.tools)
        if usb := best.get("usb_clock"):
            clocks = usb["fmax_mhz"], usb["clock_mhz"]
            check_clock(*clocks, seeds, allow_fail, self.tools, "USB's ")
        result = f"route{best['seed']}.{self.placed}"
        pack = Stage(folder, f"pack{best['seed']}", (result,), (self.bitstream,), say)
        pack.run(self.pack(result))
        return {**best, "bitstream": str(folder / self.bitstream), "notes": list(self.notes)}

    def _route(self, folder, seed, wanted, say):
        """Place and route with ``seed``; what came of it."""
        result, report = f"route{seed}.{self.placed}", f"route{seed}.json"
        inputs = ("top.json", *(name for name in self.files if name != "top.il"))
        stage = Stage(folder, f"route{seed}", inputs, (result, report), say)
        stage.run(self.route(seed, wanted, result, report))
        return {**self.read_report(folder / report), "seed": seed}

    def read_report(self, path):
        """Resources, and the speed of the fastest clock (the machine's), of nextpnr's report.

        USB's clock, where there is one, is told beside it: ``usb_clock``.
        """
        report = json.loads(Path(path).read_text())
        usb = [each for name, each in report["fmax"].items() if "usb" in name]
        others = [each for name, each in report["fmax"].items() if "usb" not in name]
        clock = max(others, key=lambda c: (c["constraint"], -c["achieved"]))
        found = {}
        for each in usb:
            found["usb_clock"] = {"clock_mhz": each["constraint"], "fmax_mhz": each["achieved"]}
        counts = report["utilization"]
        for name, cells in self.cells.items():
            used = sum(counts[cell]["used"] * number for cell, number in cells.items())
            found[name] = {"used": used, "available": counts[next(iter(cells))]["available"]}
        return {"fmax_mhz": clock["achieved"], **found}


def _share(report, wanted):
    """What a placement reaches of the clocks that are wanted, of the one that it misses by most."""
    usb = report.get("usb_clock")
    return min(report["fmax_mhz"] / wanted, usb["fmax_mhz"] / usb["clock_mhz"] if usb else 1e9)
