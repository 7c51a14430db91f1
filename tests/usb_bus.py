"""A host's port on a full-speed USB line, in the simulator: its clock, its wires, its ears."""

import random

import cocotb
from cocotb.triggers import First, Timer, ValueChange
from cocotb.utils import get_sim_time
from usb_line import SE0, DamagedPacket, J, decoded, states

__all__ = ["BIT", "UsbBus"]

BIT = 1e6 / 12  # ps
ANSWER = (2, 6.5)  # bits in which a device begins to answer
PATIENCE = 18  # bits after which no answer will come


class UsbBus:
    """The wires ``host_dp`` and ``host_dn`` of a design, and what is on its ``bus``.

    Parameters
    ----------
    dut
    ppm : float
        How much faster the host's clock is than 12 Mbit/s.
    jitter, skew : float
        The most ns by which a change of the line is early or late, and one wire behind the other.
    seed : int
    """

    def __init__(self, dut, ppm=0.0, jitter=0.0, skew=0.0, seed=0):
        self.dut = dut
        self.bit = BIT / (1 + ppm / 1e6)
        self.jitter, self.skew = 1000 * jitter, 1000 * skew
        self.random = random.Random(seed)
        self.answers = []  # bits from the end of a packet to each answer
        self.ended = 0  # ps, when the last packet went over to J

    def now(self):
        return get_sim_time("ps")

    async def wait(self, bits):
        """Let the line idle."""
        await Timer(round(bits * self.bit), "ps")

    async def drive(self, state, bits):
        """Hold both wires; one of them may change a little later."""
        late = round(self.random.uniform(0, self.skew))
        wires = [(self.dut.host_dp, state & 1), (self.dut.host_dn, state >> 1)]
        self.random.shuffle(wires)
        for n, (wire, value) in enumerate(wires):
            wire.value = value
            if late and not n:
                await Timer(late, "ps")
        await Timer(max(round(bits * self.bit) - late, 1), "ps")

    async def send(self, data, **how):
        """A packet's bytes, as ``states`` makes a line of them."""
        await self.send_states(states(data, **how))

    async def send_states(self, line):
        """States of the line, a bit each; the last one is held on."""
        runs = []
        for state in line:
            if runs and runs[-1][0] == state:
                runs[-1][1] += 1
            else:
                runs.append([state, 1])
        off = 0.0  # of the last change, in bits
        for state, count in runs[:-1]:
            now = self.random.uniform(-self.jitter, self.jitter) / self.bit
            await self.drive(state, count + now - off)
            off = now
        self.ended = self.now()
        await self.drive(runs[-1][0], runs[-1][1])

    async def reset(self, microseconds):
        """Both wires low."""
        await self.drive(SE0, microseconds * 12)
        await self.drive(J, 4)

    async def receive(self):
        """The device's answer, ``(name, data)``; None if there is none.

        Raises
        ------
        DamagedPacket
            If it comes too early or too late, or is no packet.
        """
        left = self.ended + PATIENCE * BIT - self.now()
        change = ValueChange(self.dut.bus)
        if await First(change, Timer(max(round(left), 1), "ps")) is not change:
            return None
        begin = self.now()
        self.answers.append((begin - self.ended) / BIT)
        if not ANSWER[0] <= self.answers[-1] <= ANSWER[1]:
            raise DamagedPacket(f"an answer after {self.answers[-1]:.2f} bits")
        levels, before, state = [], begin, int(self.dut.bus.value)
        while state != SE0:
            await ValueChange(self.dut.bus)
            levels += [state] * self._bits(self.now() - before)
            before, state = self.now(), int(self.dut.bus.value)
        await ValueChange(self.dut.bus)
        if int(self.dut.bus.value) != J or self._bits(self.now() - before) != 2:
            raise DamagedPacket("the packet's end is not two bits of SE0, then J")
        self.ended = self.now()
        await self.wait(1.1)
        if int(self.dut.driven.value):
            raise DamagedPacket("the line was not released")
        return decoded(levels)

    def _bits(self, time):
        count = time / BIT
        if abs(count - round(count)) > 0.1:
            raise DamagedPacket(f"the line changed after {count:.2f} bits")
        return round(count)


def start(task):
    """Run ``task`` beside the caller."""
    return cocotb.start_soon(task)
