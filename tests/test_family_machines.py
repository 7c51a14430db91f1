"""A machine for each family: every logit of a prompt and some tokens equal to the reference."""

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference import checkpoint, integer
from celosia.rtl.machine.controller import CAUSES, COUNTERS, SATURATED
from celosia.sim.driver import Driver
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from families.cases import CASES
from test_machine import attach, logits_of

FOUR = ("token_parallelism=4",)

#: Of each family a case of ``families.cases``, and settings of its machine. The first ones have,
#: between them, every unit that a family may need; the others are built in the slow tests.
FIRST = {
    "gpt2-tied": (),
    "gpt_neox-parallel": FOUR,
    "gemma2-caps": (),
    "gemma3_text-types": FOUR,
    "bitnet-packed": ("weight_width=2", "head_width=0"),
    "mixtral-two": (),
}
OTHERS = {
    "qwen2-window": FOUR,
    "qwen3-tied": FOUR,
    "olmo2-whole": (),
    "olmo2-grouped": (),
    "phi-fraction": (),
    "opt-untied": FOUR,
    "smollm3-window": FOUR,
    "granite-biases": (),
    "mistral-window": FOUR,
    "falcon_e-grouped": ("weight_width=2",),
    "qwen3_moe-sparse": (),
    "olmoe-whole": (),
    "gemma-biases": FOUR,
    "gpt_neo-local": FOUR,
    "phi3-fraction": FOUR,
    "starcoder2-window": (),
}
MACHINES = FIRST | OTHERS


@pytest.mark.parametrize(
    "name", [*FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_equals_reference(name, tmp_path):
    (case,) = (case for case in CASES if case.name == name)
    model = checkpoint.load(case.write(tmp_path / name))
    plan = make_plan(model, load_config("tiny", MACHINES[name]))
    simulation = NativeSimulation(to_verilog(plan.machine()), optimise="-O0")
    attach(plan, simulation)
    driver = Driver(NativeTransport(simulation), COUNTERS)
    for prompt, count in ((case.tokens[:1], 2), (case.tokens[:19], 8)):
        simulation.forget()
        prompt = [int(token) for token in prompt]
        run = driver.run(prompt, count)
        tokens = [token.token for token in run]
        cache = integer.IntegerCache.empty(plan.model)
        expected, logits = integer.generate(plan.model, prompt, count, cache=cache)
        np.testing.assert_array_equal(logits_of(plan, simulation), logits)
        assert tokens == expected
        counters = run.done.counters
        assert counters["cycles"] == sum(counters[cause] for cause in CAUSES)
        assert [counters[n] for n in SATURATED] == [*cache.saturated.values()]
