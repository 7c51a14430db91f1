"""What machines take of a chip: the estimates against what synthesis counted."""

import importlib
import json
from pathlib import Path

import pytest
from celosia.boards.block_ram import Memory, block_rams, chosen_bits
from celosia.boards.ecp5 import Ecp5Flow
from celosia.boards.unit_costs import COSTS

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch):
    """A module of the benches by its name."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module


def read(module):
    return json.loads(module.FILE.read_text())


def test_estimates_against_synthesis(bench):
    """Of machines outside the fit: LUTs within a tenth, an ECP5's blocks exactly."""
    chip_model = bench("chip_model")
    found = list(chip_model.checked(read(chip_model)))
    assert len(found) >= 15
    for name, board, counted, chip in found:
        assert chip.lut == pytest.approx(counted["lut"], rel=chip_model.ERROR), name
        if chip.ff:
            assert chip.ff == pytest.approx(counted["ff"], rel=chip_model.ERROR), name
        if isinstance(board.flow, Ecp5Flow):
            assert (chip.dsp, chip.bram) == (counted["dsp"], counted["bram"]), name


def test_the_costs_are_those_of_the_fit(bench):
    units, whole = bench("unit_costs"), bench("chip_model")
    for resource, costs in json.loads(COSTS.read_text()).items():
        assert units.fit(read(units), read(whole), resource) == costs


@pytest.mark.parametrize(
    ("memory", "blocks", "chosen"),
    [
        (Memory(32416, 64, table=True), 114, 960),  # 16 banks, 1,024 bits by 9
        (Memory(2172, 32, table=True), 5, 128),
        (Memory(1024, 16, table=True, reads=2), 1, 0),
        (Memory(2560, 64, 8), 10, 256),  # a byte takes 9 bits
        (Memory(1280, 18, 9), 2, None),
        (Memory(64, 48), 0, None),  # in LUTs, for a tie's breadth
        (Memory(64, 32), 1, 0),
        (Memory(47, 90, table=True), 0, 0),  # in gates
    ],
)
def test_blocks_of_a_memory(memory, blocks, chosen):
    """As Yosys 0.70 mapped them."""
    assert block_rams(memory) == blocks
    if chosen is not None:
        assert chosen_bits(memory) == chosen
