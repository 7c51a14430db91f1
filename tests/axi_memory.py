"""Memories of cocotbext-axi that wait and fail at random, and the rules watched beside them.

Imported by cocotb programs only.
"""

import random

import cocotb
from axi_rules import ADDRESS, READ_DATA, RESPONSE, WRITE_DATA, ReadRules, WriteRules
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiRamRead, AxiRamWrite, AxiReadBus, AxiWriteBus

__all__ = ["reading", "watch", "writing"]

CHANNELS = {"ar": ADDRESS, "r": READ_DATA, "aw": ADDRESS, "w": WRITE_DATA, "b": RESPONSE}


def _pauses(rng, stall):
    while True:
        yield rng.random() < stall


class _Waits:
    """Transfers that come late, and an error response where one is asked for.

    ``faults`` maps an address to the response that a transfer with it gets: 2 SLVERR, 3 DECERR.
    """

    def slow_down(self, dut, channels, latency, stall, seed):
        self.dut, self.latency, self.rng = dut, latency, random.Random(seed)
        self.faults = {}
        for n, channel in enumerate(channels):
            if stall:
                channel.set_pause_generator(_pauses(random.Random(f"{seed} {n}"), stall))

    async def wait(self):
        """A pause of up to ``latency`` cycles, one time in eight."""
        if self.latency and self.rng.random() < 0.125:
            await ClockCycles(self.dut.clk, self.rng.randint(1, self.latency))


class _Read(_Waits, AxiRamRead):
    async def _read(self, address, length):
        await self.wait()
        self.response = self.faults.get(address, 0)
        if self.response:
            return bytes([0xEE] * length)
        return await super()._read(address, length)


class _Write(_Waits, AxiRamWrite):
    async def _write(self, address, data):
        await self.wait()
        for start in self.faults:
            if start <= address < start + self.byte_lanes:
                self.response = self.faults[start]
                return
        await super()._write(address, data)


def _answers(channel, memory, member):
    """Let ``channel`` send the memory's own response."""
    send = channel.send

    async def answer(transaction):
        if memory.response:
            setattr(transaction, member, memory.response)
        memory.response = 0
        await send(transaction)

    memory.response = 0
    channel.send = answer


def reading(dut, prefix, contents, latency=0, stall=0.0, seed=0):
    """A memory with ``contents`` (a bytearray) behind a read port."""
    bus = AxiReadBus.from_prefix(dut, prefix)
    memory = _Read(bus, dut.clk, dut.rst, mem=contents)
    memory.slow_down(dut, (memory.ar_channel, memory.r_channel), latency, stall, seed)
    _answers(memory.r_channel, memory, "rresp")
    return memory


def writing(dut, prefix, contents, latency=0, stall=0.0, seed=0):
    """Likewise behind a write port."""
    bus = AxiWriteBus.from_prefix(dut, prefix)
    memory = _Write(bus, dut.clk, dut.rst, mem=contents)
    channels = (memory.aw_channel, memory.w_channel, memory.b_channel)
    memory.slow_down(dut, channels, latency, stall, seed)
    _answers(memory.b_channel, memory, "bresp")
    return memory


def watch(dut, edge, prefix, rules):
    """Apply the rules to the port ``prefix`` in every cycle; a broken one fails the test."""
    channels = [n for n in CHANNELS if hasattr(dut, f"{prefix}_{n}valid")]
    wanted = {ReadRules: ("ar", "r"), WriteRules: ("aw", "w", "b")}[type(rules)]
    assert set(wanted) <= set(channels)
    signals = {
        n + member: getattr(dut, f"{prefix}_{n}{member}")
        for n in wanted
        for member in (*CHANNELS[n], "valid", "ready")
    }
    valid = [n + "valid" for n in wanted]

    async def look():
        while True:
            await edge
            port = {name: int(signals[name].value) for name in valid}
            for n in wanted:
                some = port[n + "valid"]
                for member in (*CHANNELS[n], "ready"):
                    port[n + member] = int(signals[n + member].value) if some else 0
            rules.sample(port)

    return cocotb.start_soon(look())
