"""A cocotb program: a host at the byte stream of the LiteX SoC that celosia_litex.py makes."""

from collections import deque

import cocotb
from celosia.rtl.machine.run_counters import COUNTERS
from celosia.sim.bench_cocotb import arguments, reply, start
from celosia.sim.driver import Driver
from celosia.sim.register_transport import RegisterTransport
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles

WRITE, READ = b"\x01\x01", b"\x02\x01"  # UARTBone: a word at an address, in words, from the top
LIMIT = 2 * 1_000_000  # steps of half a cycle


class Bytes:
    """The stream's two ends; as a transport it is the machine's host link itself."""

    def __init__(self, dut, edge):
        self.dut, self.edge, self.heard = dut, edge, deque()
        cocotb.start_soon(self.listen())

    async def listen(self):
        self.dut.tx__ready.value = 1
        while True:
            await self.edge
            if int(self.dut.tx__valid.value):
                self.heard.append(int(self.dut.tx__payload.value))

    async def say(self, data):
        for byte in data:
            self.dut.rx__payload.value, self.dut.rx__valid.value = byte, 1
            await self.edge
            while not int(self.dut.rx__ready.value):
                await self.edge
        self.dut.rx__valid.value = 0

    @resume
    async def send(self, data):
        await self.say(data)

    @resume
    async def receive(self, timeout):
        if not self.heard:
            await ClockCycles(self.dut.clk, 100)
        return bytes(self.heard.popleft() for _ in range(len(self.heard)))

    @resume
    async def read(self, address):
        await self.say(READ + (int(address) // 4).to_bytes(4, "big"))
        while len(self.heard) < 4:
            await self.edge
        return int.from_bytes(bytes(self.heard.popleft() for _ in range(4)), "big")

    @resume
    async def write(self, address, value):
        await self.say(WRITE + (int(address) // 4).to_bytes(4, "big") + value.to_bytes(4, "big"))


@cocotb.test(timeout_time=LIMIT, timeout_unit="step")
async def talk(dut):
    given = arguments()
    edge = await start(dut, {"rx__valid": 0, "rx__payload": 0, "tx__ready": 0})
    await ClockCycles(dut.clk, 10)  # the SoC's own reset
    link = Bytes(dut, edge)
    base = given["registers"]

    @bridge
    def host():
        transport = link
        if base is not None:
            transport = RegisterTransport(
                lambda address: link.read(base + address),
                lambda address, value: link.write(base + address, value),
            )
        driver = Driver(transport, COUNTERS, timeout=100.0)
        return [
            [token.token for token in driver.run(prompt, count)]
            for prompt, count in given["requests"]
        ]

    reply(await host())
