"""The tape of weights from a flash that checks how it is read."""

import pytest
from celosia.rtl.compact.boot import CompactBoot
from celosia.rtl.memory.spram import SPRAM_DEPTH
from celosia.sim.spi_flash_model import SpiFlashChip
from python_bench import simulate

CONTENTS = bytes(n * 37 % 251 for n in range(600))


@pytest.mark.parametrize(("size", "offset", "megahertz"), [(1, 0, 12), (9, 5, 21), (64, 77, 48)])
def test_words_arrive(size, offset, megahertz):
    period = 1000 / megahertz
    unit, chip = CompactBoot(size, offset, 1e6 * megahertz), SpiFlashChip(CONTENTS, period=20)
    memory, cycles = [[None] * 4 for _ in range(size)], []

    async def bench(ctx):
        before, cycle = None, 0
        assert ctx.get(unit.busy)
        while ctx.get(unit.busy):
            pins = [ctx.get(getattr(unit.flash, name)) for name in ("cs_n", "sck", "copi")]
            if pins != before:
                bit = chip.edge(1e6 + cycle * period, *pins)
                if bit is not None:
                    ctx.set(unit.flash.cipo, bit)
            before = pins
            for part in range(4):
                if ctx.get(unit.en) >> part & 1:
                    address = ctx.get(unit.addr)
                    assert memory[address][part] is None
                    memory[address][part] = ctx.get(unit.octets) >> 16 * part & 0xFFFF
                    cycles.append(cycle)
            await ctx.tick()
            cycle += 1
            assert cycle < 200 * size + 3000
        await ctx.tick().repeat(50)
        assert not ctx.get(unit.en)
        assert not ctx.get(unit.busy)

    simulate(unit, bench)
    tape = b"".join(part.to_bytes(2, "little") for word in memory for part in word)
    assert tape == CONTENTS[offset : offset + 8 * size]
    if size > 1:
        assert (cycles[-1] - cycles[3]) == 128 * (size - 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 1e7), "size must be from 1 to 16384, not 0"),
        ((SPRAM_DEPTH + 1, 0, 1e7), "size must be from 1 to 16384, not 16385"),
        ((1, -1, 1e7), "offset must be from 0 to 16777215, not -1"),
        ((2, (1 << 24) - 8, 1e7), r"offset \+ 8 \* size must be from 0 to 16777216"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        CompactBoot(*arguments)
