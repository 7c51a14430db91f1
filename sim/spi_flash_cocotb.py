"""The flash model at the pins of a cocotb simulation."""

import cocotb
from cocotb.simtime import get_sim_time
from cocotb.triggers import First, Timer, ValueChange

__all__ = ["attach_flash"]

VALID = 8  # ns from sck's falling edge to new data


async def attach_flash(cs_n, sck, copi, cipo, chip):
    """Be ``chip`` at these pins, for good."""

    async def give(bit):
        await Timer(VALID, "ns")
        cipo.value = bit

    cipo.value = 0
    while True:
        await First(ValueChange(cs_n), ValueChange(sck), ValueChange(copi))
        now = get_sim_time("ps") / 1000
        bit = chip.edge(now, int(cs_n.value), int(sck.value), int(copi.value))
        if bit is not None:
            cocotb.start_soon(give(bit))
