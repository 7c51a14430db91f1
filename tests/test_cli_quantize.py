"""``celosia quantize``, and its folders as MODEL of the other commands."""

import json
from pathlib import Path

import pytest
from celosia.generators.automatic import choose_config
from celosia.reference.checkpoint import load
from celosia.reference.model import random_model
from celosia.reference.quantization.quantize import quantize
from celosia.reference.quantization.scheme import Scheme
from command_line import fails, run
from small_checkpoint import write_checkpoint

from celosia.cli import _scheme
from celosia.made_codes import with_groups
from celosia.rounded import rounded

RTN = ("--recipe", "rtn", "--measure", 40)
TEXT = Path(__file__).parent / "data" / "shakespeare_heldout.txt"


@pytest.fixture
def recipe(tmp_path):
    """A recipe that takes few tokens."""
    path = tmp_path / "quick.toml"
    path.write_text('rounding = "gptq"\ntokens = 300\n')
    return path


def test_a_folder_is_a_model(tmp_path, recipe, monkeypatch):
    """The same bytes from scratch and from the cache; evaluate takes them, with every code."""
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))
    folder, again = tmp_path / "a", tmp_path / "b"
    command = ("quantize", "demo", "--text", TEXT, "--recipe", recipe, "--measure", 200)
    done = run(*command, "-o", folder)
    assert done.exit_code == 0, done.stderr
    assert "w4a8kv8 by the recipe " in done.stderr
    assert "a scale and an offset for each 32 columns, head and embedding in 8 bits" in done.stderr
    assert "quick" in done.stdout
    assert run(*command, "-o", again).exit_code == 0
    assert (folder / "manifest.json").read_bytes() == (again / "manifest.json").read_bytes()
    made = json.loads((folder / "celosia.json").read_text())
    assert made["settings"] == {"weight_width": 4, "group_size": 32, "head_width": 8}
    assert made["calibrated_tokens"] >= 300
    found = made["measured"]
    assert found["tokens"] >= 200
    assert found["float"]["perplexity"] < found["recipe"]["perplexity"]
    assert found["nearest"]["kl"] > 0
    path = tmp_path / "report.json"
    evaluate = ("evaluate", folder, "--text", TEXT, "--max-tokens", 100, "--json", path)
    done = run(*evaluate)
    assert "w4a8kv8, 8 lanes" in done.stdout, done.stderr
    model = load(folder)
    scheme = Scheme(lanes=8, weight_width=4, group=32, head_width=8)
    codes = quantize(model, scheme).matrices[0].weight
    assert (codes == model.codes[0, "wq"].codes).all()
    message = fails(*evaluate, "--set", "group_size=64")
    assert "a group of 64 (group_size) spans groups of columns that differ in scale" in message
    message = fails("quantize", folder, "-o", tmp_path / "c")
    assert message == f"{folder}: its weights are in codes already"


def test_without_a_text_or_tokenizer(tmp_path):
    """The model writes its own text; rows of few columns have no groups."""
    done = run("quantize", write_checkpoint(tmp_path), "-o", tmp_path / "a", *RTN)
    assert done.exit_code == 0, done.stderr
    assert "one scale for each row, head and embedding in 4 bits" in done.stderr
    read = load(tmp_path / "a")
    assert read.tokenizer is None
    assert len(read.codes) == 2 * 7 + 1
    assert "loses more" not in done.stderr


def test_narrow_widths_are_kept(tmp_path):
    options = ("-o", tmp_path / "a", *RTN, "--scheme", "w8a6kv4")
    assert run("quantize", write_checkpoint(tmp_path), *options).exit_code == 0
    config, _ = choose_config(load(tmp_path / "a"), "tiny")
    assert (config.key_width, config.value_width) == (4, 4)
    assert config.activation_width == 6
    assert (config.value_steps, config.key_mean) == ("token", "removed")


def test_groups_of_few_bits(tiny_config):
    """The head has twice as many, unless somebody chose."""
    model = load("demo")
    two, eight = Scheme(weight_width=2), Scheme()
    groups = ["weight_width=2", "group_size=32", "head_width=4"]
    assert with_groups(model, two, "auto", []) == groups
    assert with_groups(model, two, "auto", ["head_width=2"]) == ["head_width=2"]
    assert with_groups(model, two, "small", []) == with_groups(model, eight, "auto", []) == []
    assert with_groups(random_model(tiny_config()), two, "auto", []) == []


def test_bad_input(tmp_path, recipe):
    small, short, out = write_checkpoint(tmp_path), tmp_path / "short", tmp_path / "out"
    short.write_text("A few words.")
    (tmp_path / "binary").write_bytes(b"\xff")
    message = fails("quantize", "demo", "-o", out, "--recipe", "finest")
    assert message.startswith(
        "'finest' is no recipe (rtn, smoothquant, awq, gptq, quarot, spinquant), nor"
    )
    message = fails("quantize", "demo", "-o", out, "--recipe", "gptq", "--text", short)
    assert message.startswith(f"{short}: the text is too short: it gives ")
    message = fails("quantize", "demo", "-o", out, "--text", tmp_path / "binary")
    assert "can't decode byte 0xff" in message
    message = fails("quantize", small, "-o", out, "--set", "group_size=24", *RTN)
    assert message == "layers.0.wq: its 16 columns have no group of 24 (group_size)"
    message = fails("quantize", small, "-o", out, "--text", short)
    assert "a text needs a tokenizer" in message
    message = fails("quantize", "demo", "-o", out, "--scheme", "w4a4")
    assert "--scheme must be w4a8kv8 or the like, " in message
    message = fails("quantize", "demo", "-o", out, "--config", "compact")
    assert message == "--scheme must not be given for the compact machine"
    recipe.write_text("rounds = 3")
    message = fails("quantize", "demo", "-o", out, "--recipe", recipe)
    assert message.startswith(f"{recipe}: unknown field 'rounds'; known: rotate, ")
    assert not out.exists()


def test_a_recipe_that_loses_more_says_so(tmp_path, monkeypatch):
    from celosia.reference.recipes import measure

    def measured(*_):
        one = {"perplexity": 3.0, "top1_agreement": 0.5, "kl": 0.2}
        two = {"perplexity": 2.5, "top1_agreement": 0.6, "kl": 0.1}
        return {"tokens": 9, "float": {"perplexity": 2.0}, "recipe": one, "nearest": two}

    monkeypatch.setattr(measure, "measured", measured)
    done = run("quantize", write_checkpoint(tmp_path), "-o", tmp_path / "a", *RTN)
    assert "this recipe loses more here than rounding to the nearest (rtn)" in done.stderr


def test_a_scheme_alone_is_rounded_by_the_best_recipe(tmp_path, capsys):
    """By the same one as ``quantize`` would; 8 bits, and codes, are left alone."""
    path = write_checkpoint(tmp_path)
    assert run("quantize", path, "-o", tmp_path / "a").exit_code == 0
    model, folder = load(path), load(tmp_path / "a")
    made = rounded(model, "w4a8kv8", _scheme, "auto", [])
    assert "w4a8kv8 by the recipe gptq: one scale for each row" in capsys.readouterr().err
    assert made.settings == folder.settings
    for place, coded in folder.codes.items():
        assert (made.codes[place].codes == coded.codes).all()
    assert rounded(folder, "w4a8kv8", _scheme, "auto", []) is folder
    assert rounded(model, "w8a8kv4", _scheme, "auto", []) is model
    assert capsys.readouterr().err == ""


def test_settings_count_beside_the_widths_of_the_scheme():
    """A head of 4 bits is wrong beside the 8 bits that the configuration would have without it."""
    _, scheme = _scheme(load("demo"), "auto", ["group_size=32", "head_width=4"], "w4a8kv8")
    assert (scheme.weight_width, scheme.head_width, scheme.group) == (4, 4, 32)


@pytest.mark.slow
def test_the_machine_keeps_the_codes(tmp_path, recipe):
    """Every logit of a simulated machine is the integer reference's."""
    folder, path = tmp_path / "a", tmp_path / "run.json"
    run("quantize", "demo", "--text", TEXT, "--recipe", recipe, "--measure", 200, "-o", folder)
    done = run("simulate", folder, "--prompt", "What", "--tokens", 6, "--json", path)
    assert done.exit_code == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["matches_reference"]
    assert result["logits_match"]
