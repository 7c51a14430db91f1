import random

import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import connect, flipped
from celosia.rtl.machine.row_scales import RowScales
from celosia.sim import bench

N_STEPS = 50  # words of keys' steps


class WithSteps(wiring.Component):
    """Row scales beside a memory of keys' steps."""

    def __init__(self, lanes, steps, paths):
        self.row_scales = RowScales(lanes, paths=paths)
        self.steps = steps
        members = self.row_scales.signature.members
        super().__init__({name: members[name] for name in ("i", "tape", "o")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.row_scales = unit = self.row_scales
        shape = data.ArrayLayout(unsigned(9), unit.lanes * unit.paths)
        m.submodules.steps = steps = memory.Memory(shape=shape, depth=N_STEPS, init=self.steps)
        read = steps.read_port()
        m.d.comb += [
            read.addr.eq(unit.address),
            read.en.eq(unit.read_en),
            unit.steps.eq(read.data),
        ]
        for name in ("i", "tape", "o"):
            connect(m, flipped(getattr(self, name)), getattr(unit, name))
        return m


def operations(lanes, seed):
    """Operations of every sort in random order; those of one chunk are frequent."""
    rng = random.Random(seed)
    sorts = [{"steps": 0, "single": 0}] * 28
    sorts += [{"steps": 1, "single": 0}] * 12 + [{"steps": 0, "single": 1}] * 12
    rng.shuffle(sorts)
    for sort in sorts:
        chunks = rng.choice([1, 1, 2, rng.randint(1, 9)])
        address = rng.randrange(N_STEPS - chunks + 1)
        lane = rng.randrange(lanes)
        yield {**sort, "chunks": chunks, "address": address, "lane": lane}


def expected(operation, tape, steps):
    """An operation's words; takes what it needs from the iterator ``tape``."""
    chunks, address, lane = operation["chunks"], operation["address"], operation["lane"]
    if operation["steps"]:
        return [[step << 7 for step in word] for word in steps[address : address + chunks]]
    if operation["single"]:
        word = next(tape)
        return [[word[lane]] * len(word)] * chunks
    return [next(tape) for _ in range(chunks)]


@pytest.mark.parametrize(("lanes", "paths"), [(2, 2), (8, 1)])
def test_scales_of_each_sort(lanes, paths):
    rng = random.Random(lanes)
    steps = [[rng.randrange(512) for _ in range(lanes * paths)] for _ in range(N_STEPS)]
    tape = [[rng.randrange(1 << 16) for _ in range(lanes)] for _ in range(500)]
    cases, answers = [], []
    for stall in (0.0, 0.5, 0.8):
        some = [*operations(lanes, seed=int(10 * stall))]
        left = iter(tape)
        y = [word for operation in some for word in expected(operation, left, steps)]
        used = len(tape) - len([*left])
        inputs = {"i": some, "tape": tape[:used]}
        cases.append({"inputs": inputs, "counts": len(y), "stall": stall, "seed": 1})
        answers.append(y)
    results = bench.run_many(WithSteps(lanes, steps, paths), cases)
    for result, y in zip(results, answers, strict=True):
        words = zip(result.outputs["o"], y, strict=True)  # behind the tape's scales lies anything
        assert [word[: len(known)] for word, known in words] == y
    cycles = results[0].stream_cycles
    assert (cycles["i"][0], cycles["o"]) == (0, [*range(2, len(answers[0]) + 2)])


def test_bad_parameters():
    with pytest.raises(ValueError, match="lanes must be from 1 to 64, not 65"):
        RowScales(65)
