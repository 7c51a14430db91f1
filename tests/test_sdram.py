"""The SDRAM controller at the pins of a chip that checks every rule."""

import random

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped
from celosia.boards.sdram_pads import SdramPads
from celosia.rtl.memory.sdram import Sdram
from celosia.rtl.memory.sdram_timing import SdramTiming
from celosia.sim import bench
from celosia.sim.sdram_model import SdramChip
from sdram_pins import MEMBERS, connect_ports, simulation_ports


class Padded(wiring.Component):
    """A controller behind its pads."""

    def __init__(self, *arguments):
        self.sdram = Sdram(*arguments)
        streams = {n: self.sdram.signature.members[n] for n in ("read", "write", "o")}
        super().__init__({**streams, **MEMBERS})

    def elaborate(self, platform):
        m = Module()
        ports = simulation_ports()
        m.submodules.sdram = self.sdram
        m.submodules.pads = pads = SdramPads(ports)
        connect(m, self.sdram.pins, pads.pins)
        connect(m, flipped(self.read), self.sdram.read)
        connect(m, flipped(self.write), self.sdram.write)
        connect(m, self.sdram.o, flipped(self.o))
        connect_ports(m, ports, self)
        return m


def noise(address):
    """What the model holds where nothing was written."""
    bank, row = address >> 9 & 3, address >> 11
    return SdramChip(10).cell(bank, row, address & 511)


def read(address, count):
    return address | count << 24


def write(address, word):
    return address | word << 24


CLOCKS = {80: (12.5, 8.35), 133: (7.52, 2.75)}  # period and phase, in ns
DELAY = 5.0  # of pads and board


def play(megahertz, rounds, **more):
    """What tests.bench_sdram hears: for each round words, cycles and commands; and all cells."""
    period, phase = CLOCKS[megahertz]
    given = {"period": period, "phase": phase, "delay": DELAY, "rounds": rounds, **more}
    return bench.run_program(Padded(1e9 / period), "bench_sdram", given)


def round_of(memory, runs, stall=0.0):
    return {
        "writes": [write(*item) for item in memory.items()],
        "reads": [read(*run) for run in runs],
        "count": sum(count for _, count in runs),
        "stall": stall,
    }


@pytest.mark.parametrize("megahertz", CLOCKS)
def test_reads_what_was_written(megahertz):
    rng = random.Random(megahertz)
    # Around the ends of bursts, pages and of the whole; same bank, other row; anywhere.
    near = [0, 7, 8, 511, 512, 513, 1023, 2047, 2048, (1 << 24) - 1, 1 << 20, 5 << 20]
    places = [*near, *range((9 << 11) + 500, (9 << 11) + 530)]
    places += [rng.randrange(1 << 24) for _ in range(20)]
    memory = {place: rng.randrange(1 << 16) for place in places}
    runs = [((9 << 11) + 500, 30), ((9 << 11) + 509, 4), *((place, 1) for place in near)]
    runs += [((9 << 11) + 500 + n, 17 - n) for n in range(17)]
    again = {place: word ^ 0xFFFF for place, word in memory.items()}
    heard, cells = play(megahertz, [round_of(memory, runs), round_of(again, runs, stall=0.7)])
    for (words, _, _), contents in zip(heard, (memory, again), strict=True):
        assert words == [contents[a + n] for a, count in runs for n in range(count)]
    assert len(cells) == len(memory)


@pytest.mark.parametrize("megahertz", CLOCKS)
def test_reads_at_the_rate_of_the_bus(megahertz):
    count = 12_000
    heard, _ = play(megahertz, [round_of({}, [(300, count // 2), (300 + count // 2, count // 2)])])
    words, cycles, commands = heard[0]
    assert words == [noise(n) for n in range(300, 300 + count)]
    took = cycles[-1] - cycles[0] + 1
    period, _ = CLOCKS[megahertz]
    refreshes = took * period / SdramTiming.refresh
    assert commands["REFRESH"] >= int(refreshes) >= 11
    assert count / took >= 0.975  # with refreshes
    assert took - count <= 16 * (int(refreshes) + 1)  # and nothing besides


def test_waits_for_room():
    heard, _ = play(80, [round_of({}, [(0, 3000)], stall=0.9)])
    words, _, commands = heard[0]
    assert words == [noise(n) for n in range(3000)]
    assert commands["READ"] == 3000 // 8


def test_refreshes_while_idle():
    _, cells = play(80, [round_of({5: 6}, [(5, 1)])], after=40_000)  # the chip would complain
    assert cells == {(0, 0, 5): 6}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9e5,), "frequency must be at least 1e6, not 900000.0"),
        ((150e6,), "frequency must be at most 142.857 MHz for this SDRAM, not 150 MHz"),
        ((80e6, None, 15), "buffer must be from 16 to 65536, not 15"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sdram(*arguments)


def test_refuses_times():
    with pytest.raises(ValueError, match="rcd must be above 0, not 0"):
        SdramTiming(rcd=0)
