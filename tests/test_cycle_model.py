"""The cycle model: its program is the plan's, and its cycles are those that machines took."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from celosia.generators.config import Config, ConfigError, load_config
from celosia.generators.estimate import flows, outline
from celosia.generators.estimate.compact import predict_compact
from celosia.generators.estimate.cycles import ERROR, predict
from celosia.generators.estimate.sketch import make_sketch
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import load
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.operations import Recur

BENCH = Path(__file__).parents[1] / "bench"
SIZES = {
    "dim": 24,
    "hidden_dim": 40,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 8,
    "vocab_size": 40,
    "seq_len": 64,
}
WEIGHTLESS = {"shift", "argument"}  # what a step says that depends on weights


def model(family="llama", **changes):
    return ModelConfig(**SIZES | changes, family=family)


def known_of(steps):
    return [{name: v for name, v in step.items() if name not in WEIGHTLESS} for step in steps]


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (model(), ["group_size=16", "weight_width=4", "head_width=8"]),
        (model("gemma2", options={"windows": (8, None)}), []),
        (model("qwen3_moe", options={"experts": 4, "chosen": 2}), []),
        (model("gpt2", n_kv_heads=4), ["token_parallelism=2"]),
        (model("hgrn_bit"), ["token_parallelism=2"]),
        (model("hgrn_bit", tied=False), ["weight_format=ternary", "weight_width=2"]),
        (model("hgrn_bit", n_heads=1, n_kv_heads=1), []),
        (model(), ["rotate_down=8", "rotate_keys=8"]),
    ],
)
def test_a_sketch_has_the_plans_program_and_sizes(config, settings):
    settings = ["weight_parallelism=32", "vector_lanes=4", *settings]
    sketch = make_sketch(config, load_config("small", settings))
    whole = random_model(config)
    if sketch.config.ternary:  # all but gains
        for tensors in (whole.tensors, *whole.layers):
            tensors |= {n: np.sign(t) for n, t in tensors.items() if t.ndim == 2}
    plan = make_plan(whole, load_config("small", settings))
    assert known_of(sketch.program.steps) == known_of(plan.program.steps)
    for name in ("weight_words", "scale_words", "bias_words", "runs", "experts"):
        assert getattr(sketch.program, name) == getattr(plan.program, name)
    assert sketch.config == plan.config
    tapes = {"weights": len(plan.tape_words()), "scales": len(plan.tapes.scales)}
    tapes |= {"biases": len(plan.tapes.biases), "gains": len(plan.tapes.gains)}
    assert sketch.words == tapes
    assert sketch.macs(5) == plan.macs(5)
    for name in (
        "rows",
        "dim_words",
        "hidden_words",
        "head_words",
        "groups",
        "views",
        "word_width",
    ):
        assert getattr(sketch.shape, name) == getattr(plan.shape, name)
    units = [[(unit.kind, unit.name) for unit in route.units] for route in sketch.shape.routes]
    assert units == [[(unit.kind, unit.name) for unit in r.units] for r in plan.shape.routes]


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(
            sys.modules, "families", raising=False
        )  # the tests have a folder of that name
        patch.syspath_prepend(BENCH)
        yield importlib.import_module("cycle_model")


def test_predictions_are_what_simulated_machines_took(bench):
    known = json.loads(bench.FILE.read_text())
    assert {"tiny", "small"} <= known.keys()
    found = [*bench.checked(known)]
    errors = {name: abs(b / a - 1) for name, a, b, _ in found}
    assert not {name: errors[name] for name, _, _, most in found if errors[name] > most}
    drawn = [name for name in errors if name.startswith(("random", "varied"))]
    assert len(drawn) >= 40
    assert sum(errors[name] <= ERROR for name in drawn) >= len(drawn) - 3
    assert json.loads(bench.FAMILIES.read_text()).keys() <= errors.keys()
    assert all(errors[name] <= 0.01 for name in ("tiny", "small"))


def test_every_cycle_of_the_named_configurations_has_its_cause(bench):
    known = json.loads(bench.FILE.read_text())
    for name in ("tiny", "small"):
        sketch = make_sketch(*bench.configured(known[name]))
        for (start, length, count), run in zip(
            known[name]["runs"], known[name]["measured"], strict=True
        ):
            prediction = predict(sketch, length, count, start=start)
            for cause, cycles in prediction.counters.items():
                counted = run["counters"][cause]
                assert abs(cycles - counted) <= max(8, 0.02 * counted), (name, cause)


def test_the_compact_machine_takes_what_it_took_on_the_board():
    board = json.loads((BENCH / "boards" / "colorlight_i5_demo_small.json").read_text())
    plan = make_plan(load("demo-small", None), Config(**board["config"]))
    run = predict_compact(plan, 40, 2)  # behind a whole window
    assert run.cycles[-1] == board["cycles_per_token"]
    assert run.cycles[38] < run.cycles[39] == run.cycles[40] - 1  # no logits; no result before it
    assert run.overhead == {"serial": sum(run.cycles) - sum(run.ideal_cycles)}
    assert run.utilisation == pytest.approx(board["utilisation"], rel=0.01)
    with pytest.raises(ConfigError, match="more than max_seq_len, 256"):
        predict_compact(plan, 500, 20)


def test_machines_alike_but_for_the_size_of_a_norm_are_told_apart(monkeypatch):
    experts = {"options": {"experts": 4, "chosen": 2}, "n_kv_heads": 4}
    found = []
    for families in (("qwen3_moe",), ("olmoe", "qwen3_moe")):
        monkeypatch.setattr(flows, "_KNOWN", {})
        for family in families:
            run = predict(make_sketch(model(family, **experts), load_config("tiny")), 1, 2)
        found.append(run.cycles)
    assert found[0] == found[1]


def test_long_runs_are_worked_out_at_some_positions_alone():
    sketch = make_sketch(model(seq_len=2048), load_config("tiny"))
    whole = predict(sketch, 1000, 1000)
    assert len(whole.cycles) == len(whole.ideal_cycles) == 1999
    (exact,) = predict(sketch, 1, 1, start=1500).cycles
    assert whole.cycles[1500] == pytest.approx(exact, rel=0.01)
    assert sum(whole.counters.values()) == sum(whole.cycles)
    assert whole.prefill_cycles == sum(whole.cycles[:1000])
    assert 0 < whole.utilisation < 1
    total = sum(whole.ideal_cycles) + sum(whole.overhead.values())
    assert total == pytest.approx(sum(whole.cycles))


def test_what_does_not_fit_is_refused():
    sketch = make_sketch(model(), load_config("small"))
    message = "a prompt of 60 tokens and 6 generated ones take 65 positions, more than"
    with pytest.raises(ConfigError, match=message):
        predict(sketch, 60, 6)


def test_a_machine_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="weight_parallelism 1024 with 8 lanes has 128 rows"):
        make_sketch(model(), load_config("small", ["weight_parallelism=1024", "vector_lanes=8"]))
    windows = model("gemma2", options={"windows": (8, 8)})
    with pytest.raises(ConfigError, match="kv_page_size must be 0 where all layers have windows"):
        make_sketch(windows, load_config("small", ["kv_page_size=16"]))
    experts = model("mixtral", options={"experts": 4, "chosen": 2})
    with pytest.raises(ConfigError, match="rotate_down must be 0 for a model with experts, not 4"):
        make_sketch(experts, load_config("small", ["rotate_down=4"]))
    with pytest.raises(ConfigError, match="max_seq_len must be at most the model's 64, not 65"):
        make_sketch(model(), load_config("small", ["max_seq_len=65"]))


def test_what_is_not_modelled_is_refused(monkeypatch):
    monkeypatch.delitem(outline._FORMS, Recur)
    with pytest.raises(ConfigError, match="cycle model does not know this model's operation Recur"):
        make_sketch(model("hgrn_bit"), load_config("small"))
