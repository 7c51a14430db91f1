"""A cocotb program for serial lines: a foreign UART sends bytes and listens at the pins."""

import cocotb
from celosia.sim.bench_cocotb import arguments, reply
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.uart import UartSink, UartSource

PERIOD = 100  # ns


@cocotb.test()
async def talk(dut):
    """Send each of ``send``, wait until the machine has said ``expect`` bytes in all, and stop."""
    given = arguments()
    dut.rx.value = 1
    dut.rst.value = 1
    Clock(dut.clk, PERIOD, unit="ns").start(start_high=False)
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 4 * given["divisor"])
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
    reply(bytes(heard + sink.read_nowait()))
