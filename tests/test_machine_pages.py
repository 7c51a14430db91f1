"""Whole machines whose KV cache has pages, in orders that earlier runs have left."""

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference import integer
from celosia.reference.kv_controller import KvPaged, Operation
from celosia.reference.model import ModelConfig, random_model
from celosia.rtl.machine.controller import COUNTERS, SATURATED
from celosia.sim.driver import Driver
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from test_machine import logits_of

FOUR = ("weight_parallelism=32", "vector_lanes=4", "token_parallelism=4")

# windows of the layers, settings, the number of pages
MACHINES = {
    "on chip": ((None, None), ("kv_page_size=4", "token_parallelism=2"), 12),
    "external": ((None, None), (*FOUR, "kv_page_size=8", "kv_pages=7", "kv_memory=axi"), 7),
    "pages and rings": ((None, 7), (*FOUR, "kv_page_size=16"), 3),
    "pages and rings, external": ((7, None), (*FOUR, "kv_page_size=16", "kv_memory=axi"), 3),
}
SLOW = ("external", "pages and rings", "pages and rings, external")


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in MACHINES],
)
def machine(request):
    """A plan, its simulation, and what lies in its external memory."""
    windows, settings, pages = MACHINES[request.param]
    names = ("dim", "hidden_dim", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "seq_len")
    sizes = dict(zip(names, (16, 24, 4, 2, 6, 37, 48), strict=True))
    config = ModelConfig(**sizes, n_layers=len(windows), options={"windows": windows})
    plan = make_plan(random_model(config, seed=1), load_config("tiny", settings))
    assert plan.config.kv_pages == pages
    simulation = NativeSimulation(to_verilog(plan.machine()), optimise="-O0")
    memory = np.random.default_rng(0).integers(0, 256, plan.cache_bytes or 1, np.uint8)
    if plan.config.kv_memory == "axi":
        simulation.memory("kv", memory, latency=50, stall=60)
    return plan, simulation, memory


def beats(plan, prompt_length, count):
    """The beats of keys and of values, whose caches have no windows."""
    s, tokens = plan.shape, plan.shape.tokens
    ends = [min(n + tokens, prompt_length) for n in range(0, prompt_length, tokens)]
    ends += range(prompt_length + 1, prompt_length + count)
    heads = s.n_layers * s.n_heads
    keys = sum(-(-end // s.rows) * s.head_words for end in ends)
    values = sum(-(-end // s.lanes) * s.places.channel_tiles for end in ends)
    return heads * keys, heads * values


def test_pages_change_nothing(machine):
    plan, simulation, _ = machine
    driver = Driver(NativeTransport(simulation), COUNTERS)
    table = KvPaged(plan.config.kv_pages, plan.config.kv_page_size, 1, 16)
    tables = []
    for prompt_length, count in ((27, 7), (3, 5), (40, 9), (5, 30)):
        prompt = np.random.default_rng(prompt_length).integers(0, 37, prompt_length).tolist()
        simulation.forget()
        run = driver.run(prompt, count)
        tokens = [token.token for token in run]
        cache = integer.IntegerCache.empty(plan.model)
        expected, logits = integer.generate(plan.model, prompt, count, cache=cache)
        np.testing.assert_array_equal(logits_of(plan, simulation), logits)
        assert tokens == expected
        counters = run.done.counters
        assert [counters[name] for name in SATURATED] == [*cache.saturated.values()]
        if not any(view.wraps for view in plan.shape.layer_views):
            found = counters["scores"], counters["values"]
            assert found == beats(plan, prompt_length, count)
        table(Operation.FREE, 0)
        for _ in range(prompt_length + count - 1):
            table(Operation.APPEND, 0)
        tables.append([*table.tables[0]])
    assert tables[0] == sorted(tables[0])
    assert sum(one != sorted(one) for one in tables) == 2  # two runs are as long as several pages


def test_a_run_goes_on(machine):
    """Positions from the start on are forgotten, and their pages taken again."""
    plan, simulation, _ = machine
    driver = Driver(NativeTransport(simulation), COUNTERS)
    first, rest = [5, 1, 30, 2, 9, 9, 17, 3, 0, 11, 36, 2, 4, 8], [7, 7, 1]
    list(driver.run(first, 20))
    for start in (14, 9):
        simulation.forget()
        tokens = [token.token for token in driver.run(rest, 3, start=start)]
        expected, logits = integer.generate(plan.model, first[:start] + rest, 3)
        np.testing.assert_array_equal(logits_of(plan, simulation), logits)
        assert tokens == expected


def test_only_the_pages_of_the_table_are_written(machine):
    plan, simulation, memory = machine
    if plan.config.kv_memory == "on_chip" or any(v.wraps for v in plan.shape.layer_views):
        pytest.skip("one layout, in a memory that can be looked at")
    driver = Driver(NativeTransport(simulation), COUNTERS)
    list(driver.run([3, 1, 4, 1, 5], 30))
    list(driver.run([3], 1))
    page, (used,) = plan.config.kv_page_size, driver_table(plan, (5, 30), (1, 1))
    assert used > 0
    before = memory.copy()
    list(driver.run([3, 1, 4], 4))
    changed = np.flatnonzero(memory != before) // plan.shape.places.word_bytes(64)
    words = page // plan.shape.rows * plan.shape.head_words
    keys = changed[changed < plan.shape.places.key_words]
    assert {*(keys // words % plan.config.kv_pages).tolist()} == {used}


def driver_table(plan, *runs):
    """The page table after runs of prompts and counts."""
    table = KvPaged(plan.config.kv_pages, plan.config.kv_page_size, 1, 16)
    for prompt_length, count in runs:
        table(Operation.FREE, 0)
        for _ in range(prompt_length + count - 1):
            table(Operation.APPEND, 0)
    return table.tables[0]
