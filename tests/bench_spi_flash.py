"""Cocotb programs with a serial flash at the pins: reads of bytes, and a memory that boots."""

import random

import cocotb
from celosia.sim.bench_cocotb import arguments, reply
from celosia.sim.sdram_cocotb import attach
from celosia.sim.sdram_model import SdramChip
from celosia.sim.spi_flash_cocotb import attach_flash
from celosia.sim.spi_flash_model import SpiFlashChip
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge


async def start(dut, given, chip):
    """Clock, reset, and the chip at the pins ``cs_n``, ``sck`` ... behind ``given["prefix"]``."""
    pins = [getattr(dut, given["prefix"] + name) for name in ("cs_n", "sck", "copi", "cipo")]
    dut.rst.value = 1
    Clock(dut.clk, round(1000 * given["period"]), unit="ps").start()
    watch = cocotb.start_soon(attach_flash(*pins, chip))
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    return watch


@cocotb.test(skip="writes" in arguments())
async def read(dut):
    """Each of ``reads``; the bytes and the cycles in which they came."""
    given = arguments()
    chooser, heard, cycle = random.Random(1), [], 0
    dut.read__valid.value = dut.o__ready.value = 0
    chip = SpiFlashChip(given["contents"])
    watch = await start(dut, given, chip)
    for bits, count in given["reads"]:
        dut.read__payload.value = bits
        dut.read__valid.value = 1
        taken, left = None, count
        while left:
            ready = chooser.random() >= given["stall"]
            dut.o__ready.value = int(ready)
            await RisingEdge(dut.clk)
            cycle += 1
            if taken is None and int(dut.read__ready.value):
                taken = cycle
                dut.read__valid.value = 0
            if ready and int(dut.o__valid.value):
                heard.append((int(dut.o__payload.value), cycle - taken))
                left -= 1
    assert not watch.done()
    reply((heard, chip.commands))


@cocotb.test(skip="writes" not in arguments())
async def boot(dut):
    """Wait until ``busy`` falls; whether the memory holds the tape then, and what it has."""
    given = arguments()
    sdram = SdramChip(given["period"])
    watch = await start(dut, given, SpiFlashChip(given["contents"]))
    other = cocotb.start_soon(attach(dut, sdram, given["phase"], given["delay"]))
    for _ in range(given["writes"]):
        await ClockCycles(dut.clk, 100)
        if not int(dut.busy.value):
            break
    assert not watch.done()
    assert not other.done()
    cells = [sdram.cells.get((0, 0, n)) for n in range(given["size"])]
    reply((int(dut.busy.value), int(dut.holds.value), cells))
