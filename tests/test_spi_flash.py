"""The serial flash's reader, and a memory that boots from it."""

import random
import zlib

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from celosia.boards.sdram_pads import DELAY, SdramPads
from celosia.rtl.memory.flash_boot import FlashBoot
from celosia.rtl.memory.sdram_tape import SdramTape
from celosia.rtl.memory.spi_flash import SpiFlash, spi_flash_pins
from celosia.sim import bench
from celosia.sim.spi_flash_model import SpiFlashChip, SpiFlashViolation
from sdram_pins import MEMBERS, connect_ports, simulation_ports

CONTENTS = random.Random(3).randbytes(3000)
PERIOD = 12.5


def given(**more):
    return {"period": PERIOD, "contents": CONTENTS, "stall": 0.0, "prefix": "pins__", **more}


@pytest.mark.parametrize("divisor", [1, 3])
@pytest.mark.parametrize("stall", [0.0, 0.98])
def test_reads(divisor, stall):
    runs = [(0, 1), (2999, 1), (100, 40), (17, 3)]
    reads = [(address | count << 24, count) for address, count in runs]
    unit = SpiFlash(1e9 / PERIOD, divisor)
    program = given(reads=reads, stall=stall)
    heard, commands = bench.run_program(unit, "bench_spi_flash", program)
    expected = [CONTENTS[address + n] for address, count in runs for n in range(count)]
    assert [byte for byte, _ in heard] == expected
    assert commands == [0xAB] + [0x0B] * len(runs)
    if not stall:
        cycles = [cycle for _, cycle in heard[2:42]]
        latency = 96 * divisor + 1 + (divisor == 1)
        assert cycles == [latency + 16 * divisor * n for n in range(40)]


class Boots(wiring.Component):
    """Flash, boot and tape: what a machine holds of them, at the pins."""

    def __init__(self, size, checksum):
        self.tape = SdramTape(16, size, checksum, 1e9 / PERIOD)
        self.boot = FlashBoot(size, 1000)
        flash = {"flash": Out(spi_flash_pins())}
        super().__init__({"busy": Out(1), "holds": Out(1), **flash, **MEMBERS})

    def elaborate(self, platform):
        m = Module()
        ports = simulation_ports()
        m.submodules.tape, m.submodules.boot = tape, boot = self.tape, self.boot
        m.submodules.flash = flash = SpiFlash(1e9 / PERIOD)
        m.submodules.pads = pads = SdramPads(ports)
        connect(m, tape.pins, pads.pins)
        connect_ports(m, ports, self)
        connect(m, boot.read, flash.read)
        connect(m, flash.o, boot.i)
        for name in ("write", "check"):
            connect(m, getattr(boot, name), getattr(tape, name))
        connect(m, tape.checksum, boot.checksum)
        connect(m, flash.pins, flipped(self.flash))
        m.d.comb += [self.busy.eq(boot.busy), self.holds.eq(tape.holds)]
        return m


@pytest.mark.parametrize("right", [True, False])
def test_boots(right):
    size = 300
    image = CONTENTS[1000 : 1000 + 2 * size]
    checksum = zlib.crc32(image)
    contents = bytearray(CONTENTS)
    contents[1100] ^= not right
    program = given(contents=bytes(contents), writes=1000, size=size, phase=8.35, delay=DELAY)
    program["prefix"] = "flash__"
    unit = Boots(size, checksum)
    busy, holds, cells = bench.run_program(unit, "bench_spi_flash", program)
    assert (busy, holds) == (0, right)
    words = [int.from_bytes(contents[n : n + 2], "little") for n in range(1000, 1600, 2)]
    assert cells == words


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpiFlash(1000), "frequency must be at least 1e6, not 1000"),
        (lambda: SpiFlash(1e6, 0), "divisor must be from 1 to 256, not 0"),
        (lambda: FlashBoot(0, 0), "size must be from 1 to 16777216, not 0"),
        (lambda: FlashBoot(1, 1 << 24), "offset must be from 0 to 16777215, not 16777216"),
        (lambda: FlashBoot(1 << 23, 2), r"offset \+ 2 \* size must be from 0 to 16777216"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Wires:
    """Gives a chip bits, one in each 20 ns."""

    def __init__(self, chip=None):
        self.chip = chip or SpiFlashChip(CONTENTS)
        self.time = 1e6

    def after(self, ns, cs_n, sck, copi):
        self.time += ns
        return self.chip.edge(self.time, cs_n, sck, copi)

    def command(self, bits, last=True, gap=100):
        self.after(gap, 0, 0, 0)
        heard = []
        for bit in bits:
            self.after(5, 0, 0, bit)
            self.after(5, 0, 1, bit)
            heard.append(self.after(10, 0, 0, bit))
        if last:
            self.after(10, 1, 0, 0)
        return heard


def bits(value, n):
    return [value >> n - 1 - k & 1 for k in range(n)]


WAKE = bits(0xAB, 8)
READ = bits(0x0B << 32 | 5 << 8, 40)


def awake():
    wires = Wires()
    wires.command(WAKE)
    wires.time += 35_000
    return wires


def test_model_reads():
    heard = awake().command(READ + [0] * 16)
    assert heard[:39] == [None] * 39
    # The last bit is clocked out for nobody.
    assert heard[39:55] == bits(int.from_bytes(CONTENTS[5:7], "big"), 16)


def clock(*times, cs=100):
    wires = awake()
    wires.after(cs, 0, 0, 0)
    for n, ns in enumerate(times):
        wires.after(ns, 0, (n + 1) % 2, 0)


def cs_falls_while_sck_is_high():
    wires = awake()
    wires.after(100, 1, 1, 0)
    wires.after(100, 0, 1, 0)


def copi_moves(before, after):
    wires = awake()
    wires.after(100, 0, 0, 0)
    wires.after(100, 0, 0, 1)
    wires.after(before, 0, 1, 1)
    wires.after(after, 0, 1, 0)


def cs_rises_early():
    wires = awake()
    wires.command(READ, last=False)
    wires.after(10, 0, 1, 0)
    wires.after(1, 1, 1, 0)


RULES = [
    (lambda: Wires().command(READ), "the chip is in power-down"),
    (lambda: [w := Wires(), w.command(WAKE), w.command(READ)], "too soon after waking: "),
    (lambda: awake().command(bits(0x9F, 8)), "command 9fh is not modelled"),
    (lambda: awake().command(READ[:7]), "cs_n rises after 7 bits"),
    (lambda: awake().command([*READ, 0]), "cs_n rises after 41 bits"),
    (
        lambda: [w := awake(), w.command(READ), w.command(READ, gap=49)],
        "the last command: 49",
    ),
    (lambda: clock(10, 7), "sck high too short: 7 ns, at least 8"),
    (lambda: clock(10, 15, 7), "sck low too short: 7 ns, at least 8"),
    (lambda: clock(10, 9, 10), "sck too fast: 19 ns, at least 20"),
    (lambda: clock(1), "cs_n too late: 1 ns, at least 2"),
    (lambda: copi_moves(1, 5), "copi too late: 1 ns, at least 2"),
    (lambda: copi_moves(5, 1), "copi held too short: 1 ns, at least 2"),
    (cs_falls_while_sck_is_high, "sck must be low when cs_n falls"),
    (cs_rises_early, "cs_n rises too soon after sck: 1 ns"),
]


@pytest.mark.parametrize(("breach", "message"), RULES)
def test_model_sees_the_breach(breach, message):
    with pytest.raises(SpiFlashViolation, match=message):
        breach()
