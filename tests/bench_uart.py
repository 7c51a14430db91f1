"""A cocotb program for serial lines: a foreign UART sends bytes and listens at the pins."""

import cocotb
from celosia.sim.bench_cocotb import arguments, reply
from celosia.sim.uart_cocotb import converse
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

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
    heard = await converse(dut, given, PERIOD)
    reply(heard)
