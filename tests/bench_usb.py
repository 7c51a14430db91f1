"""A cocotb program: a USB host on the wires of a serial port, in one scenario."""

import cocotb
from celosia.sim.bench_cocotb import arguments, reply
from cocotb.clock import Clock
from cocotb.triggers import Timer
from usb_bus import UsbBus
from usb_host import UsbHost
from usb_scenarios import SCENARIOS

PERIOD = 1e6 / 48  # ps


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def scenarios(dut):
    """Each of ``cases``: a scenario's name, the host's settings, the scenario's own."""
    given, found = arguments(), []
    half = round(PERIOD / (1 + given.get("device_ppm", 0) / 1e6) / 2)
    Clock(dut.usb_clk, 2 * half, unit="ps").start()
    Clock(dut.clk, 2 * round(500 / given.get("megahertz", 60) * 1000), unit="ps").start()
    for case in given["cases"]:
        dut.host_dp.value, dut.host_dn.value = 1, 0
        for name in ("echo", "go", "stall"):
            if hasattr(dut, name):
                getattr(dut, name).value = case.get(name, 0)
        dut.rst.value = 1
        await Timer(200, "ns")
        dut.rst.value = 0
        await Timer(1, "us")
        host = UsbHost(UsbBus(dut, **case.get("bus", {})), **case.get("host", {}))
        found.append(await SCENARIOS[case["name"]](dut, host, **case.get("more", {})))
    reply(found)
