"""What a compact machine takes of a chip, before synthesis and after it; which machine fits."""

import math
from dataclasses import replace

import pytest
from celosia.boards.catalog import BOARDS
from celosia.boards.compact_estimate import configs, needs, settings
from celosia.boards.estimate import (
    board_config,
    check_fit,
    default_clock,
    fitting_config,
    largest_text,
)
from celosia.generators.compact.sketch import compact_sketch
from celosia.generators.config import ConfigError, change_config, load_config
from celosia.generators.estimate.compact import predict_compact
from celosia.generators.estimate.report import token_cycles
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import load
from celosia.reference.model import ModelConfig, random_model
from families.cases import CASES

STORIES = ModelConfig(
    dim=64, hidden_dim=172, n_layers=5, n_heads=8, n_kv_heads=4, head_dim=8, vocab_size=512,
    seq_len=512, tied=True,
)  # fmt: skip
LAYER = replace(STORIES, n_layers=1)
WIDE = replace(LAYER, dim=256, hidden_dim=688, n_heads=16, n_kv_heads=8, head_dim=16)

#: Weights a cycle, columns, bits, window; and what Yosys 0.70 counts on an ECP5 (of random models
#: without the gains' block RAM): LUT4, multiplier blocks, block RAMs.
COUNTED = (
    (STORIES, (16, 4, 4, 16), (3769, 10, 71)),
    (LAYER, (32, 4, 4, 256), (4517, 18, 37)),
    (LAYER, (64, 4, 4, 64), (5914, 34, 35)),
    (LAYER, (64, 8, 4, 64), (5711, 34, 36)),
    (LAYER, (16, 4, 8, 64), (3792, 18, 49)),
    (LAYER, (64, 8, 8, 64), (6354, 66, 57)),
    (WIDE, (32, 4, 4, 64), (7136, 18, 213)),
)


def config_of(parallelism, lanes, width, window):
    names = ("weight_parallelism", "vector_lanes", "weight_width", "window")
    values = zip(names, (parallelism, lanes, width, window), strict=True)
    words = [f"{name}={value}" for name, value in values]
    return load_config("compact", ["boot=image", "max_seq_len=256", *words])


@pytest.mark.parametrize(("model", "form", "counted"), COUNTED)
def test_what_synthesis_counts(model, form, counted):
    found = needs(model, config_of(*form))
    lut, dsp, bram = counted
    assert found["lut"] == pytest.approx(lut, rel=0.06)
    assert found["dsp"] == dsp
    assert found["bram"] == pytest.approx(bram, rel=0.06)


@pytest.mark.parametrize("name", ["gpt2-scales", "qwen3-window", "opt-untied", "falcon_e-grouped"])
def test_a_sketch_is_the_plan_without_weights(name, tmp_path):
    (case,) = (case for case in CASES if case.name == name)
    model = load(case.write(tmp_path / name))
    config = load_config("compact", ["max_seq_len=40", "window=4"])
    plan, sketch = make_plan(model, config), compact_sketch(model.config, config)
    for part in ("weights", "scales", "gains", "wide", "half"):
        assert len(getattr(plan.image, part)) == len(getattr(sketch.image, part))
    assert replace(plan.shape, acc_width=0) == replace(sketch.shape, acc_width=0)
    assert predict_compact(plan, 4, 3) == predict_compact(sketch, 4, 3)
    assert needs(model.config, config)["spram"] == 8 * len(plan.image.weights)


def test_ternary_weights():
    """On an iCEBreaker synthesis found 5,027 logic cells and 28 block RAMs."""
    settings = ("weight_format=trits", "weight_parallelism=8", "vector_lanes=4", "weight_width=8")
    demo, config = load("demo-ternary", None).config, load_config("compact", settings)
    assert needs(demo, config) == {"lut": 5050, "dsp": 8, "spram": 123_904, "bram": 29}
    check_fit(demo, config, BOARDS["icebreaker"])
    plan = compact_sketch(demo, config)
    assert 8 * len(plan.image.weights) == 123_904


def test_a_sampler_fits_where_there_is_room():
    greedy = config_of(16, 4, 4, 4)
    sampled = replace(greedy, sampling="temperature")
    found, more = needs(LAYER, greedy), needs(LAYER, sampled)
    assert more == found | {"lut": found["lut"] + 1400, "bram": found["bram"] + 1}
    check_fit(LAYER, sampled, BOARDS["colorlight_i5"])
    chip = load_config("compact", ["max_seq_len=64", "window=4", "sampling=temperature"])
    with pytest.raises(ConfigError, match="LUTs: 6,000 needed, 5,280 available"):
        check_fit(LAYER, chip, BOARDS["icebreaker"])


def test_the_usual_clock_is_what_small_tapes_reach():
    for name, config, model, megahertz in (
        ("colorlight_i5", config_of(32, 4, 4, 32), LAYER, 60),
        ("ulx3s_45f", config_of(64, 8, 4, 64), STORIES, 36),
        ("tang_nano_20k", config_of(32, 4, 4, 32), LAYER, 36),
        ("icebreaker", load_config("compact"), STORIES, 24),
        ("ulx3s_85f", load_config("small"), STORIES, 80),
    ):
        assert default_clock(BOARDS[name], config, model) == megahertz
    plan = compact_sketch(STORIES, config_of(64, 8, 4, 64))
    assert plan.shape.far
    assert not compact_sketch(LAYER, config_of(32, 4, 4, 32)).shape.far


def test_a_model_without_such_a_machine():
    model = replace(STORIES, family="gemma2")
    assert not list(configs(model, BOARDS["ulx3s_45f"]))
    with pytest.raises(ConfigError, match="no such machine: the compact machine has no"):
        compact_sketch(model, config_of(16, 4, 4, 16))


def test_the_faster_machine_is_taken():
    two = replace(STORIES, n_layers=2)
    for name, model, kind in (
        ("orangecrab_25f", two, "full"),
        ("tang_primer_20k", LAYER, "compact"),
        ("ecpix5_45f", STORIES, "full"),
        ("ulx3s_85f", STORIES, "full"),
    ):
        board = BOARDS[name]
        config = fitting_config(model, board)
        assert config.machine == kind, name
        check_fit(model, config, board)
        assert token_cycles(model, config, 100, 1e6) < 60_000


def test_a_short_window_is_the_last_choice():
    """demo's tape leaves room for 16 positions: the SDRAM's machine is slower and sees them all."""
    demo = load("demo", None)
    found = board_config(demo, BOARDS["ulx3s_45f"])
    assert (found.machine, found.memory) == ("full", "sdram")
    assert "window of 32, 128 positions" in largest_text(demo, BOARDS["ecpix5_45f"])


def test_what_the_command_line_is_told():
    found = fitting_config(LAYER, BOARDS["tang_primer_20k"])
    words = settings(found).split()
    changes = [word for word in words[2:] if word != "--set"]
    again = change_config(load_config("compact"), changes)
    assert replace(again, name="fit") == found


def test_cycles_without_a_model_are_more_than_any(monkeypatch):
    from celosia.boards import estimate

    def unknown(*_):
        raise ConfigError("no model")

    monkeypatch.setattr(estimate, "token_cycles", unknown)
    assert estimate._seconds(STORIES, config_of(16, 4, 4, 16), BOARDS["ulx3s_45f"]) == math.inf
    assert make_plan(random_model(LAYER, seed=1), config_of(16, 4, 4, 4)).shape.spram is False
