"""Lattice's ECP5: its flow (Yosys, nextpnr-ecp5, ecppack) and what its sizes hold."""

from types import MappingProxyType

from celosia.boards.nextpnr import NextpnrFlow
from celosia.sim.tools import tool

__all__ = ["ECP5_SIZES", "Ecp5Flow"]

ECP5_SIZES = MappingProxyType(
    {
        "12f": {"lut": 24288, "ff": 24288, "dsp": 28, "bram": 56},
        "25f": {"lut": 24288, "ff": 24288, "dsp": 28, "bram": 56},
        "45f": {"lut": 43848, "ff": 43848, "dsp": 72, "bram": 108},
        "85f": {"lut": 83640, "ff": 83640, "dsp": 156, "bram": 208},
    }
)

ROUTING = ("--placer", "static", "--router", "router1")

# Where the 85k's slices of two multipliers begin, and their rows, the middle one first.
SLICES = (4, 8, 13, 17, 22, 26, 31, 35, 40, 44, 49, 53, 58, 62, 69, 73, 78, 82, 87, 91, 96, 100)
ROWS = (34, 58, 10)


def fabric_sites():
    """Sites of an 85k for the fabric's multipliers, in their order: 132 of 156.

    Four neighbours, then four above or below, from right to left; on the right there is room for
    the vector units' own. A placer that chooses sites itself tears the rows of the fabric apart:
    the nets get a tenth longer.
    """
    return [
        f"X{x + side}/Y{y}/MULT18_{4 * place + side}"
        for left, right in zip(SLICES[-2::-2], SLICES[-1::-2], strict=True)
        for y in ROWS
        for place, x in enumerate((left, right))
        for side in range(2)
    ]


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
    routed = MappingProxyType({"full": (87.0,), "compact": (44.6, 70.6, 71.7, 72.4, 80.0, 93.4)})
    target = "ecp5"
    tools = ("yosys", "nextpnr-ecp5", "ecppack")
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
        places = []
        if device.endswith("85k"):
            places = [
                f'setattr -set BEL "{site}" c:serial.machine.fabric.product_{number}.dsp'
                for number, site in enumerate(fabric_sites())
            ]
        # Registers of these names are to stay several, each near those that it steers.
        copies = "setattr -set keep 1 w:copy_* %ci1 c:* %i"
        # No step reads what another one writes: what the caches give then need not be the old word.
        # Nor does the compact machine use what it reads where it writes.
        mask = "setparam -set COLLISION_X_MASK 1'1"
        caches = f"{mask} *_cache*/t:$memrd_v2 *.machine.products/t:$memrd_v2"
        wide = f"{mask} *.machine.operands/r:TRANSPARENCY_MASK=1'0"
        # All of synth_ecp5 but autoname, which takes minutes.
        begin = "synth_ecp5 -nodsp -top top -run begin:check"
        end = ["hierarchy -check", "blackbox =A:whitebox", "write_json top.json"]
        self.synthesis = "\n".join([copies, caches, wide, begin, *places, *end])

    def route(self, seed, megahertz, result, report):
        options = [f"--{self.device}", "--package", self.package, "--speed", str(self.speed)]
        options += ["--json", "top.json", "--lpf", "top.lpf", "--textcfg", result]
        options += ["--report", report, "--seed", str(seed), "--freq", f"{megahertz:.6g}"]
        return [*tool("nextpnr-ecp5"), *options, *ROUTING, "--timing-allow-fail"]

    def pack(self, result):
        return [*tool("ecppack"), "--compress", "--input", result, "--bit", self.bitstream]
