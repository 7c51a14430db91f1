"""Whole machines whose layers see windows: rings of slots that wrap, on chip and behind AXI."""

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.view import View
from celosia.rtl.machine.controller import COUNTERS
from celosia.sim.driver import Driver
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from test_machine import attach, logits_of

FOUR = ("weight_parallelism=32", "vector_lanes=4", "token_parallelism=4")

# windows of the layers, slots of their rings, settings
MACHINES = {
    "one window, one token": ((5, 5), (8, 8), ("weight_parallelism=32", "vector_lanes=4")),
    "two windows and a whole sequence": ((7, None, 12, 7), (16, 64, 16, 16), FOUR),
    "external cache": ((7, None, 13), (16, 64, 16), (*FOUR, "kv_memory=axi", "kv_axi_width=32")),
}


def windowed(windows, settings):
    """A plan and its simulation."""
    config = ModelConfig(
        dim=24,
        hidden_dim=36,
        n_layers=len(windows),
        n_heads=4,
        n_kv_heads=2,
        head_dim=6,
        vocab_size=50,
        seq_len=64,
        windows=windows,
    )
    plan = make_plan(random_model(config, seed=1), load_config("tiny", settings))
    simulation = NativeSimulation(to_verilog(plan.machine()))
    attach(plan, simulation)
    return plan, simulation


@pytest.mark.parametrize("name", MACHINES)
def test_windows_that_wrap(name):
    windows, slots, settings = MACHINES[name]
    plan, simulation = windowed(windows, settings)
    assert [view.slots for view in plan.shape.layer_views] == [*slots]
    driver = Driver(NativeTransport(simulation), COUNTERS)
    for prompt_length, count in ((3, 5), (41, 22), (2, 1)):  # a long one, then a new sequence
        prompt = np.random.default_rng(prompt_length).integers(0, 50, prompt_length).tolist()
        simulation.forget()
        tokens = [token.token for token in driver.run(prompt, count)]
        expected, logits = integer.generate(plan.model, prompt, count)
        np.testing.assert_array_equal(logits_of(plan, simulation), logits)
        assert tokens == expected


def test_a_window_costs_its_own_positions_only():
    """Late positions take as long as early ones, and less memory than the whole sequence."""
    plan, simulation = windowed((5, 5), MACHINES["one window, one token"][2])
    driver = Driver(NativeTransport(simulation), COUNTERS)
    passes = [token.cycles for token in driver.run([1], 60)]
    steps = np.diff(passes)
    assert max(steps[10:]) == min(steps[10:])
    assert plan.shape.views == (View(8, 5),) * 2
    whole = make_plan(random_model(ModelConfig(24, 36, 2, 4, 2, 6, 50, 64), seed=1), plan.config)
    assert plan.cache_bytes * 8 == whole.cache_bytes
