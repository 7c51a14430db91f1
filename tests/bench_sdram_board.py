"""A cocotb program: a foreign UART and a checking SDRAM at the pins of what a board holds."""

import cocotb
from celosia.sim.bench_cocotb import arguments, reply
from celosia.sim.sdram_cocotb import attach
from celosia.sim.sdram_model import SdramChip
from celosia.sim.spi_flash_cocotb import attach_flash
from celosia.sim.spi_flash_model import SpiFlashChip
from celosia.sim.uart_cocotb import converse
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles


@cocotb.test()
async def talk(dut):
    """Send each of ``talk``, wait until the machine has said ``expect`` bytes in all, and stop."""
    given = arguments()
    period, divisor = given["period"], given["divisor"]
    chip = SdramChip(period)
    dut.rx.value = 1
    dut.rst.value = 1
    Clock(dut.clk, round(1000 * period), unit="ps").start()
    watch = cocotb.start_soon(attach(dut, chip, given["phase"], given["delay"]))
    if "flash" in given:
        pins = [getattr(dut, f"flash__{name}") for name in ("cs_n", "sck", "copi", "cipo")]
        flash = cocotb.start_soon(attach_flash(*pins, SpiFlashChip(given["flash"])))
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 4 * divisor + given.get("pause", 0))
    heard = await converse(dut, given, period, lambda: watch.done() and watch.result())
    assert not watch.done()
    assert "flash" not in given or not flash.done()
    reply((heard, {c.name: n for c, n in chip.commands.items()}))
