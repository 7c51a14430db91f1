"""The energy of a token's operations: an estimate, by which formats and memories compare.

Horowitz, "Computing's energy problem", ISSCC 2014, for 45 nm CMOS at 0.9 V, as it is commonly
quoted: an 8-bit multiplication 0.2 pJ, a 32-bit addition 0.1 pJ, 64
bits read from 8 KB of SRAM 10 pJ, from DRAM 1.3 to 2.6 nJ. A multiplication by fewer bits is taken
to need as much less, and ternary weights none.

Counted are products and what is read and written for them. That is not what a chip draws: routing,
clocks and leakage are not in it, and an FPGA's logic takes about 14 times an ASIC's (Kuon and Rose,
2007). How busy a machine is does not change it. Nothing here was measured.
"""

from celosia.generators.estimate.work import CLASSES, Formats, work_of
from celosia.rtl.mac.format import CACHED_WIDTH

__all__ = ["ERROR", "token_energy"]

ERROR = "unmeasured"
PRODUCT, SUM = 0.2, 0.1  # picojoules
ON_CHIP, OUTSIDE = 10 / 8, 1950 / 8  # for a byte


def token_energy(description, config, position):
    """Microjoules for the operations of the token at ``position``, its logits among them.

    Parameters
    ----------
    description : celosia.reference.description.Description
        In the machine's form.
    config : celosia.generators.config.Config
    position : int
    """
    width, head = config.weight_width, config.head_width or config.weight_width
    formats = Formats(width, head, config.group_size, config.offset_width)
    codes = (config.key_width + config.value_width) / (2 * CACHED_WIDTH)
    rates = dict.fromkeys(CLASSES, ON_CHIP)
    if config.memory != "on_chip":
        rates |= {"weights": OUTSIDE, "scales": OUTSIDE}
    if config.kv_memory != "on_chip":
        rates["cache"] = OUTSIDE
    rates["cache"] *= codes
    energy = 0.0
    position = min(position, (config.window or position + 1) - 1)  # the compact machine's
    for work in work_of(description, formats, 1, position):
        bits = {"head": head, "scores": CACHED_WIDTH, "values": CACHED_WIDTH}.get(work.name, width)
        ternary = config.ternary and bits == width
        energy += work.macs * (SUM + (0 if ternary else PRODUCT * bits / CACHED_WIDTH))
        energy += sum(rates[name] * size for name, size in work.bytes.items())
    return energy / 1e6
