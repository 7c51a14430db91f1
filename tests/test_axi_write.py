"""Blocks written to a memory that stalls, answers late and refuses some bursts."""

import random

import pytest
from celosia.rtl.kv_cache.axi_write import OUTSTANDING, AxiBlockWriter
from celosia.rtl.memory.axi_port import PAGE
from python_bench import simulate

SIZE = 1 << 13  # bytes of the memory


class Memory:
    """What the bursts of ``writer`` made of its bytes, and what came back."""

    def __init__(self, writer, blocks, stall, refused=()):
        self.writer, self.blocks, self.stall, self.refused = writer, blocks, stall, refused
        self.bytes = [None] * SIZE
        self.tags, self.errors, self.bursts, self.cycles = [], [], [], 0
        simulate(writer, self.bench)

    async def bench(self, ctx):
        w, chooser = self.writer, random.Random(3)
        sent, offering, address, words, answered = 0, False, [], [], 0
        outstanding = 0
        ctx.set(w.awready, 0)
        while answered < len(self.blocks):
            offering = sent < len(self.blocks) and (offering or chooser.random() >= self.stall)
            awready, wready = (chooser.random() >= self.stall for _ in range(2))
            complete = min(len(address), sum(last for *_, last in words))
            answer = complete > answered and chooser.random() >= self.stall
            ctx.set(w.i.valid, offering)
            if offering:
                ctx.set(w.i.payload, self.blocks[sent])
            ctx.set(w.awready, awready)
            ctx.set(w.wready, wready)
            ctx.set(w.bvalid, answer)
            ctx.set(w.bresp, 2 * (answered in self.refused))
            assert ctx.get(w.bready)
            assert ctx.get(w.written.valid) == answer
            if answer:
                self.tags.append(ctx.get(w.written.payload))
                self.errors.append(ctx.get(w.error))
            if ctx.get(w.awvalid) and awready:
                names = ("awaddr", "awlen", "awsize", "awburst", "awid")
                address.append([ctx.get(getattr(w, n)) for n in names])
            if ctx.get(w.wvalid) and wready:
                words.append([ctx.get(getattr(w, n)) for n in ("wdata", "wstrb", "wlast")])
            moved = offering and ctx.get(w.i.ready)
            await ctx.tick()
            self.cycles += 1
            answered += answer
            if moved:
                sent, offering = sent + 1, False
            outstanding = max(outstanding, sent - answered)
            assert self.cycles < 100 * len(self.blocks) * (w.lanes + 4)
        assert outstanding <= OUTSTANDING
        self.store(address, words)

    def store(self, address, words):
        size, place = self.writer.data_width // 8, 0
        for base, length, beat_size, burst, number in address:
            assert (1 << beat_size, burst, number, base % size) == (size, 1, 0, 0)
            assert base // PAGE == (base + (length + 1) * size - 1) // PAGE
            self.bursts.append(length + 1)
            for n in range(length + 1):
                value, strobes, last = words[place]
                assert last == (n == length)
                for k in range(size):
                    if strobes >> k & 1:
                        self.bytes[base + n * size + k] = value >> 8 * k & 255
                place += 1
        assert place == len(words)


def blocks_of(lanes, n, packed=False):
    """Rows and columns of random bytes, and the memory that they make."""
    octets, values_width = (lanes // 2, 4) if packed else (lanes, 8)
    low, high = -1 << values_width - 1, 1 << values_width - 1
    chooser, blocks, memory = random.Random(lanes), [], [None] * SIZE
    for k in range(n):
        column, lane = chooser.randrange(2), chooser.randrange(lanes)
        align = octets * lanes if column else octets
        values = [
            chooser.choice([low, high - 1, chooser.randrange(low, high)]) for _ in range(lanes)
        ]
        address = chooser.randrange(0, SIZE, align)
        stored = values
        if packed:
            stored = [
                a & 15 | (b & 15) << 4 for a, b in zip(values[::2], values[1::2], strict=True)
            ]
        for r, value in enumerate(stored):
            memory[address + (r * lanes + lane if column else r)] = value & 255
        lane = lane if lanes > 1 else 0
        blocks.append(
            {"data": values, "address": address, "column": column, "lane": lane, "tag": k % 4}
        )
    return blocks, memory


@pytest.mark.parametrize(
    ("lanes", "data_width", "packed"),
    [
        *((1, 32, False), (4, 32, False), (8, 64, False), (4, 256, False), (2, 128, False)),
        *((2, 32, True), (16, 32, True), (8, 128, True)),
    ],
)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_blocks_arrive(lanes, data_width, packed, stall):
    blocks, expected = blocks_of(lanes, 40, packed)
    memory = Memory(AxiBlockWriter(lanes, data_width, packed), blocks, stall, refused=(3, 17))
    assert memory.bytes == expected
    assert memory.tags == [block["tag"] for block in blocks]
    assert [n for n, error in enumerate(memory.errors) if error] == [3, 17]
    size = data_width // 8
    octets = lanes // 2 if packed else lanes
    chunks = [octets * lanes if block["column"] else octets for block in blocks]
    assert memory.bursts == [max(1, chunk // size) for chunk in chunks]
    if not stall:  # a block takes its transfers and a cycle, the last one another for its answer
        assert memory.cycles == sum(memory.bursts) + len(blocks) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 32, True), "lanes must be at least 2 where two values share a byte, not 1"),
        ((3, 32), "lanes must be a power of two from 1 to 32, not 3"),
        ((64, 32), "lanes must be a power of two from 1 to 32, not 64"),
        ((4, 16), "data_width must be a power of two from 32 to 1024, not 16"),
        ((4, 96), "data_width must be a power of two from 32 to 1024, not 96"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        AxiBlockWriter(*arguments)
