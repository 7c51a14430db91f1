"""A cocotb program: a foreign UART and a serial flash at the pins of what an iCEBreaker holds."""

import cocotb
from celosia.sim.bench_cocotb import arguments, reply
from celosia.sim.spi_flash_cocotb import attach_flash
from celosia.sim.spi_flash_model import SpiFlashChip
from celosia.sim.uart_cocotb import converse
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

PERIOD = 50  # ns


@cocotb.test()
async def talk(dut):
    """When the tape has been copied, send each of ``talk``, wait for ``expect`` bytes in all."""
    given = arguments()
    dut.rx.value = 1
    dut.rst.value = 1
    Clock(dut.clk, PERIOD, unit="ns").start(start_high=False)
    pins = [getattr(dut, f"flash__{name}") for name in ("cs_n", "sck", "copi", "cipo")]
    flash = cocotb.start_soon(attach_flash(*pins, SpiFlashChip(given["flash"])))
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, given["pause"])
    heard = await converse(dut, given, PERIOD)
    assert not flash.done()
    reply(heard)
