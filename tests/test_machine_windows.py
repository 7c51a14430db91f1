"""Whole machines whose layers see windows: rings of slots that wrap, on chip and behind AXI."""

from dataclasses import replace

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.view import View, least_start
from celosia.rtl.machine.run_counters import COUNTERS
from celosia.sim.driver import Driver, DriverError
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from test_machine import attach, logits_of

FOUR = ("weight_parallelism=32", "vector_lanes=4", "token_parallelism=4")

# windows of the layers, slots of their rings, settings
MACHINES = {
    "one window, one token": ((5, 5), (8, 8), ("weight_parallelism=32", "vector_lanes=4")),
    "two windows and a whole sequence": ((7, None, 12, 7), (16, 64, 16, 16), FOUR),
    "values of two blocks in a beat, two paths of scores": (
        (7, None, 12),
        (16, 64, 16),
        ("weight_parallelism=64", "vector_lanes=4", "token_parallelism=2", "softmax_lanes=8"),
    ),
    "external cache": ((7, None, 13), (16, 64, 16), (*FOUR, "kv_memory=axi", "kv_axi_width=32")),
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[] if "two " in n else [pytest.mark.slow]) for n in MACHINES],
)
def machine(request):
    """A plan, its simulation, and the slots that its layers should have."""
    windows, slots, settings = MACHINES[request.param]
    names = ("dim", "hidden_dim", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "seq_len")
    sizes = dict(zip(names, (24, 36, 4, 2, 6, 50, 64), strict=True))
    config = ModelConfig(**sizes, n_layers=len(windows), options={"windows": windows})
    plan = make_plan(random_model(config, seed=1), load_config("tiny", settings))
    simulation = NativeSimulation(to_verilog(plan.machine()), optimise="-O0")
    attach(plan, simulation)
    return plan, simulation, slots


@pytest.mark.parametrize(("prompt_length", "count"), [(3, 5), (41, 22), (2, 1)])
def test_windows_that_wrap(machine, prompt_length, count):
    plan, simulation, slots = machine
    assert [view.slots for view in plan.shape.layer_views] == [*slots]
    driver = Driver(NativeTransport(simulation), COUNTERS)
    prompt = np.random.default_rng(prompt_length).integers(0, 50, prompt_length).tolist()
    simulation.forget()
    tokens = [token.token for token in driver.run(prompt, count)]
    expected, logits = integer.generate(plan.model, prompt, count)
    np.testing.assert_array_equal(logits_of(plan, simulation), logits)
    assert tokens == expected


def test_a_start_whose_window_was_overwritten(machine):
    plan, simulation, _ = machine
    driver = Driver(NativeTransport(simulation), COUNTERS)
    prompt = np.random.default_rng(4).integers(0, 50, 41).tolist()
    list(driver.run(prompt, 1))
    least = least_start(plan.shape.layer_views, 41)
    assert 30 < least < 41
    for start in (1, least - 1):
        with pytest.raises(DriverError, match="positions its window sees were overwritten"):
            driver.run([7], 1, start=start)
    simulation.forget()
    driver = Driver(NativeTransport(simulation), COUNTERS)  # the machine knows, whoever asks
    tokens = [token.token for token in driver.run([7, 8], 2, start=least)]
    expected, logits = integer.generate(plan.model, [*prompt[:least], 7, 8], 2)
    np.testing.assert_array_equal(logits_of(plan, simulation), logits)
    assert tokens == expected
    list(driver.run([1, 2, 3], 1, start=0))
    assert len(list(driver.run([4], 1, start=1))) == 1


def test_a_window_costs_its_own_positions_only(machine):
    """Late positions take as long as early ones, and less memory than the whole sequence."""
    plan, simulation, _ = machine
    if None in plan.model.config.options["windows"] or plan.config.kv_memory == "axi":
        pytest.skip("grows with the sequence, or with what its memory makes of it")
    driver = Driver(NativeTransport(simulation), COUNTERS)
    steps = np.diff([token.cycles for token in driver.run([1], 60)])
    assert max(steps[10:]) == min(steps[10:])
    assert plan.shape.layer_views == (View(8, 5),) * 2
    whole = replace(plan.shape, views=())
    for name in ("key_words", "value_words"):
        assert getattr(plan.shape.places, name) * 8 == getattr(whole.places, name)
