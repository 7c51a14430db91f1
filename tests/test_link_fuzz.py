"""The host links of four machines under fuzz: every frame answered, every good request right."""

import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.protocol.frames import LONGEST_FRAME, SYNC
from celosia.protocol.refusals import Code
from celosia.reference.model import random_model
from celosia.rtl.machine.run_counters import COUNTERS
from celosia.sim.native import NativeSimulation
from celosia.sim.simulate import machine_verilog
from link_fuzz import LinkFuzz, frames_of
from test_compact_machine import ODD
from test_compact_machine import SETTINGS as COMPACT
from test_machine import MACHINES, random_machine
from test_machine_sdram import SIZES

DAMAGE = {Code.CRC, Code.KIND, Code.LENGTH}


def machine(memory):
    """``(plan, simulation, counters)`` of a machine that other tests build too."""
    if memory == "compact":
        plan = make_plan(random_model(ODD, seed=5), load_config("compact", COMPACT))
        simulation = NativeSimulation(machine_verilog(plan), ("logits", "passes"))
        simulation.record(taps=False)
        return plan, simulation, plan.counters
    sizes, settings = {
        "chip": MACHINES["smallest"][::2],
        "axi": MACHINES["narrow formats, external memory"][::2],
        "sdram": (SIZES, ("memory=sdram", "weight_width=5")),
    }[memory]
    plan, simulation, _ = random_machine(sizes, settings)
    return plan, simulation, COUNTERS


def test_a_little():
    """5,000 bytes on the smallest machine."""
    fuzz = LinkFuzz(*machine("chip"), seed=1)
    fuzz.run(5_000)
    assert fuzz.frames > 50
    assert fuzz.requests > 5
    assert fuzz.codes > {Code.CRC, Code.KIND}


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["chip", "axi", "sdram", "compact"])
def test_much(memory):
    """200,000 bytes, with a good request after about every thousand."""
    fuzz = LinkFuzz(*machine(memory), seed=2)
    fuzz.run(200_000)
    fuzz.silence()
    print(memory, fuzz.sent, fuzz.frames, fuzz.requests, sorted(fuzz.codes))
    assert fuzz.frames > 2_000
    assert fuzz.requests > 150
    others = {Code.BUSY, Code.EMPTY, Code.COUNT, Code.ADDRESS, Code.VOCABULARY}
    assert fuzz.codes > DAMAGE | others


def test_what_frames_are():
    """The search that the answers are compared with."""
    text = b"noise" + bytes([SYNC, 1, 0, 0, 0]) + bytes([SYNC, 9]) + bytes(LONGEST_FRAME)
    assert [*frames_of(text)] == [(1, b"", False), (9, b"", False)]
