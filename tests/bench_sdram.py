"""A cocotb program: writes into an SDRAM, reads from it; the chip at the pins checks the rules."""

import random

import cocotb
from celosia.sim.bench_cocotb import arguments, reply
from celosia.sim.sdram_cocotb import attach
from celosia.sim.sdram_model import SdramChip
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge


async def offer(dut, name, payloads):
    """Give payloads (bits) to an input stream, one after the other."""
    valid, ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
    for payload in payloads:
        getattr(dut, f"{name}__payload").value = payload
        valid.value = 1
        await RisingEdge(dut.clk)
        while not int(ready.value):
            await RisingEdge(dut.clk)
    valid.value = 0


async def take(dut, count, stall, seed):
    """Words of ``o`` and the cycles in which they came."""
    chooser, words, cycles, cycle = random.Random(seed), [], [], 0
    while len(words) < count:
        ready = chooser.random() >= stall
        dut.o__ready.value = int(ready)
        await RisingEdge(dut.clk)
        if ready and int(dut.o__valid.value):
            words.append(int(dut.o__payload.value))
            cycles.append(cycle)
        cycle += 1
    dut.o__ready.value = 0
    return words, cycles


@cocotb.test()
async def play(dut):
    """Each of ``rounds``: first its writes, then its reads, under its stalls."""
    given = arguments()
    chip = SdramChip(given["period"], given.get("timing"))
    for port in ("read__valid", "write__valid", "o__ready"):
        getattr(dut, port).value = 0
    dut.rst.value = 1
    Clock(dut.clk, round(1000 * given["period"]), unit="ps").start()
    watch = cocotb.start_soon(attach(dut, chip, given["phase"], given["delay"]))
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    heard = []
    for step in given["rounds"]:
        await offer(dut, "write", step["writes"])
        asked = cocotb.start_soon(offer(dut, "read", step["reads"]))
        before = dict(chip.commands)
        words, cycles = await take(dut, step["count"], step.get("stall", 0.0), len(heard))
        await asked
        commands = {c.name: n - before[c] for c, n in chip.commands.items()}
        heard.append((words, cycles, commands))
    await ClockCycles(dut.clk, given.get("after", 20))
    assert not watch.done()
    reply((heard, chip.cells))
