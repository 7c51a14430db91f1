"""Lattice's ECP5: its flow (Yosys, nextpnr-ecp5, ecppack) and what its sizes hold."""

from types import MappingProxyType

from celosia.boards.nextpnr import NextpnrFlow
from celosia.boards.tools import tool

__all__ = ["ECP5_SIZES", "Ecp5Flow"]

ECP5_SIZES = MappingProxyType(
    {
        "12f": {"lut": 24288, "ff": 24288, "dsp": 28, "bram": 56},
        "25f": {"lut": 24288, "ff": 24288, "dsp": 28, "bram": 56},
        "45f": {"lut": 43848, "ff": 43848, "dsp": 72, "bram": 108},
        "85f": {"lut": 83640, "ff": 83640, "dsp": 156, "bram": 208},
    }
)


class Ecp5Flow(NextpnrFlow):
    """How an ECP5 is built for.

    Parameters
    ----------
    device : str
        nextpnr's name of it: ``85k``, ``um5g-45k``.
    package : str
    speed : int
    """

    files = ("top.il", "top.lpf")
    synthesis = (  # all of synth_ecp5 but autoname, which takes minutes
        "synth_ecp5 -nodsp -top top -run begin:check\n"
        "hierarchy -check\nblackbox =A:whitebox\nwrite_json top.json"
    )
    target = "ecp5"
    cells = MappingProxyType(
        {
            "lut": {"TRELLIS_COMB": 1},
            "ff": {"TRELLIS_FF": 1},
            "dsp": {"MULT18X18D": 1},
            "bram": {"DP16KD": 1},
        }
    )
    lut_share = 1.0

    def __init__(self, device, package, speed):
        self.device = device
        self.package = package
        self.speed = speed

    def route(self, seed, megahertz, result, report):
        options = [f"--{self.device}", "--package", self.package, "--speed", str(self.speed)]
        options += ["--json", "top.json", "--lpf", "top.lpf", "--textcfg", result]
        options += ["--report", report, "--seed", str(seed), "--freq", f"{megahertz:.6g}"]
        return [*tool("nextpnr-ecp5"), *options, "--router", "router2", "--timing-allow-fail"]

    def pack(self, result):
        return [*tool("ecppack"), "--compress", "--input", result, "--bit", self.bitstream]
