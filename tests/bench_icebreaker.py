"""A cocotb program: a foreign UART and a serial flash at the pins of what an iCEBreaker holds."""

import cocotb
from celosia.sim.bench_cocotb import arguments, reply
from celosia.sim.spi_flash_cocotb import attach_flash
from celosia.sim.spi_flash_model import SpiFlashChip
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.uart import UartSink, UartSource

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
    baud = 1e9 / (PERIOD * given["divisor"]) * (1 + given["skew"])
    source, sink = UartSource(dut.rx, baud=baud), UartSink(dut.tx, baud=baud)
    heard = bytearray()
    for data, expect in given["talk"]:
        source.write_nowait(data)
        patience = 12 * (expect + len(data)) + given["patience"]
        while len(heard) < expect and patience > 0:
            await ClockCycles(dut.clk, given["divisor"])
            patience -= 1
            heard += sink.read_nowait()
        await source.wait()
    await ClockCycles(dut.clk, 20 * given["divisor"])
    assert not flash.done()
    reply(bytes(heard + sink.read_nowait()))
