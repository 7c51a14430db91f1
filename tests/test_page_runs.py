"""Steps that read of a paged cache, cut into pages: what is read, and in which order."""

import pytest
from amaranth import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import connect, flipped
from celosia.reference.view import PagedView
from celosia.rtl.kv_cache.kv_paged import entry_layout
from celosia.rtl.kv_cache.page_runs import PageRuns
from celosia.rtl.kv_cache.places import CachePlaces
from celosia.rtl.machine.step import Operand, Region, fetch_layout, recall_layout, scales_layout
from celosia.sim import bench

TABLE = [5, 2, 7, 0, 6, 1, 4, 3]  # where the pages of 8 positions lie
ROWS, LANES, WORDS, STRIDE = 4, 2, 3, 32  # a page has 2 tiles of keys, 4 words of values
KEY, VALUE, NONE = Operand.KEYS.value, Operand.VALUES.value, Region.NONE.value
FETCH = dict.fromkeys((name for name, _ in fetch_layout()), 0)
FETCH |= {"stride": STRIDE, "fills": NONE, "source_base": 9, "opens": 1, "closes": 1}
KEYS = FETCH | {"operand": KEY, "words": WORDS, "address": 48, "paged": 1}
VALUES = FETCH | {"operand": VALUE, "sums": 1, "fills": Region.HIDDEN.value, "tiles": 2}
VALUES |= {"address": 100, "paged": 1}
TAPE = FETCH | {"operand": Operand.TAPE.value, "tiles": 9, "words": 11, "address": 77, "sums": 1}
TAPE |= {"fills": Region.NORMED.value, "paged": 0}


class WithTable(wiring.Component):
    """The unit with a page table."""

    def __init__(self, layout):
        places, view = CachePlaces(ROWS, LANES, (64, 64), 1, WORDS), PagedView(64, page=8)
        self.runs = PageRuns(layout, places, view, entry_layout(1, 8))
        super().__init__({name: self.runs.signature.members[name] for name in ("i", "o")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.runs = runs = self.runs
        m.submodules.table = table = memory.Memory(shape=16, depth=8, init=TABLE)
        read = table.read_port()
        connect(m, flipped(self.i), runs.i)
        connect(m, runs.o, flipped(self.o))
        m.d.comb += [
            read.addr.eq(runs.entry.block),
            read.en.eq(runs.entry_en),
            runs.block.eq(read.data),
        ]
        return m


def pieces(step):
    """The pieces of a step."""
    if not step["paged"]:
        return [step]
    found = []
    for tile in range(1 if step["operand"] == KEY else step["tiles"]):
        keys = step["operand"] == KEY
        name, size = ("tiles", 2) if keys else ("words", 4)
        for page, n in enumerate(range(0, step[name], size)):
            one = step | {"tiles": 1} | {name: min(size, step[name] - n)}
            one["address"] += tile * STRIDE + TABLE[page] * size * (WORDS if keys else 1)
            if not keys:
                one |= {"source_base": 9 + n, "opens": int(n == 0), "sums": int(tile == 0)}
                one["closes"] = int(n + size >= step["words"])
            if tile or n:
                one["fills"] = NONE
            found.append(one)
    return found


@pytest.mark.parametrize("layout", [fetch_layout(), recall_layout()])
def test_pieces_of_steps(layout):
    unit = WithTable(layout)
    steps = []
    for n in range(1, 14):
        steps += [KEYS | {"tiles": n}, TAPE, VALUES | {"words": n}]
    inputs, outputs = ([n for n, _ in port.p.shape()] for port in (unit.i, unit.o))
    given = [{n: step[n] for n in inputs} for step in steps]
    expected = [{n: one[n] for n in outputs} for step in steps for one in pieces(step)]
    cases = [{"inputs": given, "counts": len(expected), "stall": s, "seed": 3} for s in (0, 0.5)]
    results = bench.run_many(unit, cases)
    for result in results:
        assert result.outputs["o"] == expected
    taken, made = (results[0].stream_cycles[name] for name in "io")
    assert made[0] - taken[0] == 3
    assert made[-1] - made[0] == len(made) - 1


def test_pieces_of_scales():
    step = dict.fromkeys((name for name, _ in scales_layout()), 0)
    given = [step | {"steps": 1, "chunks": 9, "address": 30, "paged": 1}]
    given.append(step | {"chunks": 9, "address": 5, "lane": 1, "paged": 0})
    result = bench.run(WithTable(scales_layout()), given, counts=4)
    found = [(word["chunks"], word["address"], word["lane"]) for word in result.outputs["o"]]
    assert found == [(4, 50, 0), (4, 38, 0), (1, 58, 0), (9, 5, 1)]
