"""The SDRAM model at the pins of a cocotb simulation, with the chip's clock and its delays."""

import random

import cocotb
from celosia.sim.sdram_model import SdramPins
from cocotb.simtime import get_sim_time
from cocotb.triggers import FallingEdge, RisingEdge, Timer

__all__ = ["attach"]

NAMES = ("cs_n", "ras_n", "cas_n", "we_n", "cke", "ba", "a", "dqm")


class _Bus:
    """What the chip drives: each word from ``late`` after one edge to ``gone`` after the next."""

    def __init__(self, dut, gone, late):
        self.dut = dut
        self.gone, self.late = gone, late
        self.noise = random.Random(1)

    async def give(self, word):
        """Called at an edge; ``word`` is what holds at the next one."""
        await Timer(self.gone, "ps")
        self.dut.dq_i.value = self.noise.randrange(1 << 16)
        await Timer(self.late - self.gone, "ps")
        if word is not None:
            self.dut.dq_i.value = word


async def attach(dut, chip, phase, delay):
    """Be the chip at the pins ``cs_n``, ``dq_o``, ``dq_oe``, ``dq_i`` ... of ``dut``, for good.

    The chip's clock comes ``phase`` ns after ``dut.clk``, with which commands change. ``delay`` ns
    is what pads and board add to the data's round trip. Where the chip drives no data the bus
    holds noise.

    Parameters
    ----------
    dut : cocotb handle
    chip : celosia.sim.sdram_model.SdramChip
    phase, delay : float
    """
    chip.check_clock(phase)
    period, phase = round(1000 * chip.period), round(1000 * phase)
    bus = _Bus(dut, *(round(1000 * (ns + delay)) for ns in (chip.timing.oh, chip.timing.ac)))
    pins = [getattr(dut, name) for name in NAMES]
    await RisingEdge(dut.clk)
    origin = get_sim_time("ps") + phase
    while True:
        if chip.idle and int(dut.cs_n.value):
            await FallingEdge(dut.cs_n)
        now = get_sim_time("ps")
        cycle = max(0, (now - origin) // period + 1)
        await Timer(origin + cycle * period - now, "ps")
        dq = int(dut.dq_o.value) if int(dut.dq_oe.value) else None
        word = chip.edge(cycle, SdramPins(*(int(pin.value) for pin in pins), dq=dq))
        cocotb.start_soon(bus.give(word))
