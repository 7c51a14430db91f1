"""A machine for each family: every logit of a prompt and some tokens equal to the reference."""

import re
from dataclasses import replace

import numpy as np
import pytest
from celosia.generators.config import ConfigError, load_config
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference import checkpoint, integer
from celosia.reference.families import FAMILIES
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.rewrites.rewrites import machine_form
from celosia.rtl.machine.run_counters import CAUSES, COUNTERS, SATURATED
from celosia.sim.driver import Driver, DriverError
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from celosia.sim.state import State
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
    "hgrn_bit-bounds": ("weight_width=2", "head_width=0", "weight_format=ternary", *FOUR),
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
    "qwen3-yarn": FOUR,
    "phi-qk": (),
    "olmoe-clip": (),
    "hgrn_bit-odd": ("weight_width=2", "head_width=0", "weight_format=trits"),
}
MACHINES = FIRST | OTHERS

#: Cases whose machine form is that of a tested family, but for numbers: family and options.
SAME = {
    "mistral-window": ("llama", {}),
    "mistral-yarn": ("llama", {}),
    "qwen2-window": ("llama", {}),
    "smollm3-window": ("llama", {}),
    "granite-biases": ("llama", {}),
    "granite-factors": ("llama", {}),
    "phi3-fraction": ("llama", {}),
    "phi3-long": ("llama", {}),
    "gemma-biases": ("llama", {"activation": "gelu_tanh"}),
    "gpt_neo-local": ("gpt2", {}),
    "opt-untied": ("gpt2", {"activation": "relu"}),
    "starcoder2-window": (
        "gpt_neox",
        {"serial": 1, "attention_bias": 1, "activation": "gelu_tanh"},
    ),
}

#: Awkward shapes: three and seven query heads to a key head, heads of 6 and 10 values, odd sizes,
#: windows that wrap; with the settings of their machines.
SIZES = {"n_layers": 2, "n_kv_heads": 1, "vocab_size": 41, "seq_len": 29, "norm_eps": 0.01}
SHAPES = {
    "three": (
        {"dim": 19, "hidden_dim": 27, "n_heads": 3, "head_dim": 6},
        ("token_parallelism=4", "weight_parallelism=24"),
    ),
    "seven": ({"dim": 14, "hidden_dim": 33, "n_heads": 7, "head_dim": 10}, ()),
}
EXPERTS = {"experts": 5, "chosen": 2, "expert_dim": 11}
OPTIONS = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "mistral": {"windows": (5, 5)},
    "qwen2": {"qkv_bias": True, "windows": (None, 6)},
    "qwen3": {"windows": (7, None)},
    "gemma": {},
    "gemma2": {"windows": (5, None), "score_cap": 20.0, "logit_cap": 9.0, "score_factor": 0.3},
    "gemma3": {"windows": (6, None), "logit_cap": 9.0},
    "smollm3": {"no_rope_layers": (1,), "windows": (None, 5)},
    "granite": {"residual_factor": 0.6, "embedding_factor": 3.0, "score_factor": 0.2},
    "olmo2": {"attention_bias": True},
    "gpt2": {"learned_positions": True, "layer_scaled": True},
    "gpt_neo": {"learned_positions": True, "unscaled": True, "windows": (None, 5)},
    "gpt_neox": {"rotary_dim": 4, "attention_bias": True},
    "phi": {"rotary_dim": 4, "head_norms": True},
    "phi3": {"rotary_dim": 4, "windows": (6, 6)},
    "opt": {"learned_positions": True},
    "starcoder2": {"windows": (None, 7)},
    "bitnet": {"attention_bias": True},
    "mixtral": EXPERTS | {"windows": (6, 6), "renormalise": True},
    "qwen3_moe": EXPERTS | {"dense_layers": (0,)},
    "olmoe": EXPERTS | {"limit": 0.8},
    "hgrn_bit": {"lower_bounds": True},
}


@pytest.mark.parametrize(
    "name", [*FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_equals_reference(name, tmp_path):
    (case,) = (case for case in CASES if case.name == name)
    plan = make_plan(
        checkpoint.load(case.write(tmp_path / name)), load_config("tiny", MACHINES[name])
    )
    check(plan, case.tokens)


def awkward(family, shape):
    """The plan of a family's machine of an awkward shape."""
    sizes, settings = SHAPES[shape]
    config = ModelConfig(**SIZES | sizes, family=family, options=OPTIONS[family])
    if "experts" in OPTIONS[family]:
        settings = ("token_parallelism=1",)
    settings += ("weight_width=2", "head_width=0") if family == "bitnet" else ()
    return make_plan(random_model(config, seed=3), load_config("tiny", settings))


def test_every_family_has_awkward_shapes():
    assert set(OPTIONS) == set(FAMILIES)


@pytest.mark.parametrize(
    ("family", "routes"), [("qwen3", {"heads"}), ("phi", {"heads"}), ("olmoe", {"queries", "keys"})]
)
def test_one_key_head_takes_the_way_of_the_queries(family, routes):
    """Its norm is of the head, though that is the whole vector; unless the queries' is whole."""
    found = set(awkward(family, "three").program.routes)
    assert found & {"heads", "queries", "keys"} == routes


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", OPTIONS)
def test_awkward_shapes_equal_reference(family, shape):
    tokens = np.random.default_rng(5).integers(0, SIZES["vocab_size"], 40)
    check(awkward(family, shape), tokens)


def check(plan, tokens):
    """The machine's logits, tokens and counters are those of the reference."""
    text = to_verilog(plan.machine())
    attention = re.findall(r"module \S*(?:cache|rope|softmax|sums|scores|queries)\S*", text)
    assert bool(attention) == plan.program.attends
    simulation = NativeSimulation(text, optimise="-O0")
    attach(plan, simulation)
    driver = Driver(NativeTransport(simulation), COUNTERS)
    for prompt, count in ((tokens[:1], 2), (tokens[:19], 8)):
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
    if plan.program.recurs:
        check_states(plan, simulation, driver, cache)


def check_states(plan, simulation, driver, cache):
    """A run goes on where the one before it ended; there is no state of an earlier position."""
    end, prompt = cache.length, [3, 1]
    for start in (1, end - 1, end + 1):
        with pytest.raises(DriverError, match="were overwritten"):
            driver.run(prompt, 1, start=start)
    state = driver.save()
    assert State.from_bytes(state.to_bytes()) == state
    other = replace(state, model_hash=b"somebody", name="another")
    with pytest.raises(DriverError, match=r"is that of another model: of another \(736f6d"):
        driver.restore(other)
    assert [*driver.run([2, 5, 4], 1)]
    assert driver.save() != state
    driver.restore(state)
    assert driver.save() == state
    simulation.forget()
    tokens = [token.token for token in driver.run(prompt, 2, start=end)]
    expected, logits = integer.generate(plan.model, prompt, 2, cache=cache)
    np.testing.assert_array_equal(logits_of(plan, simulation), logits)
    assert tokens == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("kv_memory=axi", "kv_memory must be on_chip for a model without attention, not axi"),
        ("kv_page_size=8", "kv_page_size must be 0 for a model without attention, not 8"),
        ("softmax_lanes=2", "softmax_lanes must be 0 for a model without attention"),
        (
            "attention_parallelism=4",
            "attention_parallelism must be 0 for a model without attention, not 4",
        ),
    ],
)
def test_settings_that_states_do_not_have(setting, message):
    config = ModelConfig(**SIZES | SHAPES["seven"][0], family="hgrn_bit")
    with pytest.raises(ConfigError, match=message):
        make_plan(random_model(config), load_config("tiny", (setting,)))


@pytest.mark.parametrize("name", SAME)
def test_machine_form_is_that_of_a_tested_family(name, tmp_path):
    """The same operations on the same vectors: the same routes, units and order of steps."""
    (case,) = (case for case in CASES if case.name == name)
    model = checkpoint.load(case.write(tmp_path / name))
    family, options = SAME[name]
    other = replace(model.config, family=family, options=model.config.options | options)
    form, other = (machine_form(each).description for each in (model, random_model(other)))
    assert bare(form) == bare(other)


def bare(description):
    """The operations without the numbers that are in tables, or folded into scales."""
    numbers = {"scale": 1.0, "frequencies": (), "factor": 1.0, "offset": 0, "rows": 0}
    return [
        [replace(op, **{n: v for n, v in numbers.items() if hasattr(op, n)}) for op in part]
        for part in (description.begin, *description.layers, description.end)
    ]
