"""Whole machines whose KV cache has pages, in orders that earlier runs have left."""

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.units.kv_controller import KvPaged, Operation
from celosia.rtl.machine.run_counters import COUNTERS, SATURATED
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


class Paged:
    """A machine, what lies in its external memory, and the page table that it should have."""

    def __init__(self, windows, settings):
        names = ("dim", "hidden_dim", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "seq_len")
        sizes = dict(zip(names, (16, 24, 4, 2, 6, 37, 48), strict=True))
        config = ModelConfig(**sizes, n_layers=len(windows), options={"windows": windows})
        self.plan = plan = make_plan(random_model(config, seed=1), load_config("tiny", settings))
        self.simulation = NativeSimulation(to_verilog(plan.machine()), optimise="-O0")
        size = plan.cache_bytes if plan.config.kv_memory == "axi" else 1
        self.memory = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        if plan.config.kv_memory == "axi":
            self.simulation.memory("kv", self.memory, latency=50, stall=60)
        self.driver = Driver(NativeTransport(self.simulation), COUNTERS)
        self.table = KvPaged(plan.config.kv_pages, plan.config.kv_page_size, 1, 16)
        self.wraps = any(view.wraps for view in plan.shape.layer_views)

    def check(self, prompt, count, before=()):
        """A run equal to the reference behind the tokens ``before``; its counters, its pages."""
        start = len(before)
        self.simulation.forget()
        run = self.driver.run(prompt, count, start=start)
        tokens = [token.token for token in run]
        cache = integer.IntegerCache.empty(self.plan.model)
        expected = integer.generate(self.plan.model, [*before, *prompt], count, cache=cache)
        np.testing.assert_array_equal(logits_of(self.plan, self.simulation), expected[1])
        assert tokens == expected[0]
        if not start:
            found = [run.done.counters[name] for name in SATURATED]
            assert found == [*cache.saturated.values()]
        self.table(Operation.FREE, 0, length=start)
        for _ in range(len(prompt) + count - 1):
            self.table(Operation.APPEND, 0)
        return run.done.counters, [*self.table.tables[0]]

    def beats(self, prompt_length, count):
        """The beats of keys and of values, where no layer has a window."""
        s, tokens = self.plan.shape, self.plan.shape.tokens
        ends = [min(n + tokens, prompt_length) for n in range(0, prompt_length, tokens)]
        ends += range(prompt_length + 1, prompt_length + count)
        heads = s.n_layers * s.n_heads
        keys = sum(-(-end // s.rows) * s.head_words for end in ends)
        values = sum(-(-end // s.lanes) * s.places.channel_tiles for end in ends)
        return heads * keys, heads * values


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in MACHINES],
)
def paged(request):
    windows, settings, pages = MACHINES[request.param]
    paged = Paged(windows, settings)
    assert paged.plan.config.kv_pages == pages
    return paged


def test_pages_change_nothing(paged):
    orders = []
    for prompt_length, count in ((20, 7), (3, 5), (40, 9), (5, 30)):
        prompt = np.random.default_rng(prompt_length).integers(0, 37, prompt_length).tolist()
        counters, pages = paged.check(prompt, count)
        orders.append(pages == sorted(pages))
        if not paged.wraps:
            found = counters["scores"], counters["values"]
            assert found == paged.beats(prompt_length, count)
    assert orders[0]
    assert not any(orders[2:])


def test_a_run_goes_on(paged):
    """Positions from the start on are forgotten, and their pages taken again."""
    first = [5, 1, 30, 2, 9, 9, 17, 3, 0, 11, 36, 2, 4, 8]
    paged.check(first, 6)
    paged.check([7, 7, 1], 3, first)
    if not paged.wraps:  # its window is no longer there
        paged.check([7, 7, 1], 20, first[:5])


def test_only_a_sequence_s_pages_are_written(paged):
    plan = paged.plan
    if plan.config.kv_memory == "on_chip" or paged.wraps:
        pytest.skip("needs one layout, in a memory that can be looked at")
    paged.check([3, 1, 4, 1, 5], 30)
    before = paged.memory.copy()
    _, pages = paged.check([3, 1, 4], 8)
    assert pages != [*range(len(pages))]
    places, page = plan.shape.places, plan.config.kv_page_size
    changed = np.flatnonzero(paged.memory != before) // places.word_bytes(plan.shape.cache_width)
    keys = changed[changed < places.key_words]
    of_page = page // plan.shape.rows * plan.shape.head_words
    assert {*(keys // of_page % plan.config.kv_pages).tolist()} == {*pages}
    values = (changed[changed >= places.key_words] - places.key_words) // (page // plan.shape.lanes)
    assert {*(values % plan.config.kv_pages).tolist()} == {*pages}
