"""``celosia tune``, and its folders as MODEL of the other commands."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from celosia.generators.automatic import choose_config
from celosia.generators.plan import scheme_of
from celosia.reference.checkpoint import load
from celosia.reference.quantization.quantize import quantize
from command_line import fails, run
from families.cases import CASES
from small_checkpoint import write_checkpoint

TEXT = Path(__file__).parent / "data" / "shakespeare_heldout.txt"
QUICK = ("--steps", 3, "--batch", 2, "--measure", 40)


@pytest.fixture
def torch():
    """PyTorch, where it is installed."""
    return pytest.importorskip("torch", reason="needs PyTorch: pip install celosia[train]")


def test_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    message = fails("tune", write_checkpoint(tmp_path), "-o", tmp_path / "a")
    assert message == "tune needs PyTorch, which is not here: pip install 'celosia[train]'"


def test_a_folder_is_a_model(torch, tmp_path, monkeypatch):
    """The same bytes at a second call; the integer model has the trained codes."""
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))
    folder, again = tmp_path / "a", tmp_path / "b"
    command = ("tune", "demo", "--scheme", "ternary", "--text", TEXT, *QUICK)
    done = run(*command, "-o", folder)
    assert done.exit_code == 0, done.stderr
    assert "rounded, not trained" in done.stdout
    assert run(*command, "-o", again).exit_code == 0
    assert (folder / "manifest.json").read_bytes() == (again / "manifest.json").read_bytes()
    assert not list((tmp_path / "cache").glob("*.unfinished"))
    made = json.loads((folder / "celosia.json").read_text())
    assert made["settings"] == {"weight_width": 2, "group_size": 32, "head_width": 4}
    assert made["recipe"]["name"] == "tune"
    assert (made["recipe"]["steps"], made["recipe"]["own_tokens"]) == (3, 0)
    found = made["measured"]
    assert found["tokens"] == 40
    assert found["tuned"]["kl"] < found["nearest"]["kl"]
    model = load(folder)
    codes = {(layer, name): each.codes for (layer, name), each in model.codes.items()}
    assert set(np.unique(codes[0, "wq"])) == {-1, 0, 1}
    scheme = scheme_of(choose_config(model)[0])
    assert (quantize(model, scheme).matrices[0].weight == codes[0, "wq"]).all()
    assert fails(*command[:1], folder, "-o", tmp_path / "c") == (
        f"{folder}: its weights are in codes already"
    )


def test_without_a_text_or_tokenizer(torch, tmp_path):
    """The model writes its own."""
    options = ("--self", 480, *QUICK, "--set", "weight_width=3", "--scheme", "w3a8kv8")
    done = run("tune", write_checkpoint(tmp_path), "-o", tmp_path / "a", *options)
    assert done.exit_code == 0, done.stderr
    read = load(tmp_path / "a")
    assert read.tokenizer is None
    assert len(read.codes) == 2 * 7 + 1


def test_a_model_without_attention(torch, tmp_path):
    """Its machine has a fabric without multipliers."""
    (case,) = (case for case in CASES if case.name == "hgrn_bit-bounds")
    options = ("--self", 480, *QUICK, "--scheme", "ternary")
    done = run("tune", case.write(tmp_path / "source"), "-o", tmp_path / "a", *options)
    assert done.exit_code == 0, done.stderr
    model = load(tmp_path / "a")
    config, _ = choose_config(model)
    assert (config.weight_format, config.weight_width) == ("ternary", 2)
    assert scheme_of(config).ternary
    assert not any(quantize(model, scheme_of(config)).logits([1, 2, 3])[1].values())


def test_bad_input(torch, tmp_path):
    small, out, short = write_checkpoint(tmp_path), tmp_path / "out", tmp_path / "short"
    short.write_text("A few words.")
    message = fails("tune", small, "-o", out, "--scheme", "binary")
    assert "--scheme must be w4a8kv8 or the like" in message
    message = fails("tune", "demo", "-o", out, "--text", short)
    assert message.startswith(f"{short}: the text is too short: ")
    message = fails("tune", small, "-o", out, "--text", short)
    assert message == f"{short}: a text needs a tokenizer, and the model brings none"
    message = fails("tune", small, "-o", out, "--rate", 2)
    assert message == "--rate must be more than 0 and less than 1, not 2"
    message = fails("tune", small, "-o", out, "--set", "group_size=24", *QUICK)
    assert message.endswith("a group of 24 weights does not fit a row of 16")
    (case,) = (case for case in CASES if case.name == "mixtral-two")
    message = fails("tune", case.write(tmp_path / "moe"), "-o", out, "--self", 99, *QUICK)
    assert message.endswith("the operation Experts cannot be trained in codes")
    assert not out.exists()
