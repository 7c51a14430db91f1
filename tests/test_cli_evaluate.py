"""``celosia evaluate``, and what all commands share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from celosia.generators.config import FOLDER, NAMED
from celosia.reference.evaluate import evaluate_text, split_texts
from celosia.reference.integer import SATURATED
from celosia.reference.quantization.quantize import Scheme
from command_line import fails, run
from small_checkpoint import write_checkpoint

import celosia

TEXT = Path(__file__).parent / "data" / "shakespeare_heldout.txt"


def test_json(tmp_path):
    path = tmp_path / "report.json"
    done = run("evaluate", "demo", "--text", TEXT, "--max-tokens", 300, "--json", path)
    assert done.exit_code == 0
    report = json.loads(path.read_text())
    assert list(report) == ["tokens", "float", "integer", "top1_agreement", "kl", "saturated"]
    assert list(report["saturated"]) == list(SATURATED)
    assert "saturated values: " in done.stdout
    assert list(report["float"]) == list(report["integer"]) == ["perplexity"]
    assert report["tokens"] == 300
    assert report["integer"]["perplexity"] == pytest.approx(report["float"]["perplexity"], rel=0.01)
    assert 0.95 < report["top1_agreement"] <= 1
    assert 0 < report["kl"] < 0.01
    assert "w8a8kv8, 8 lanes" in done.stdout


def test_scheme_of_activations_and_cache(tmp_path):
    """What it names is what --set gives."""
    reports = []
    widths = (
        "activation_width=6",
        "key_width=6",
        "value_width=4",
        "value_steps=token",
        "key_mean=removed",
    )
    for settings in (("--scheme", "w8a6k6v4"), [x for one in widths for x in ("--set", one)]):
        path = tmp_path / f"{len(reports)}.json"
        command = ("evaluate", "demo", "--text", TEXT, "--max-tokens", "20", "--json", path)
        done = run(*command, *settings)
        assert "w8a6k6v4, 8 lanes" in done.stdout
        reports.append(path.read_text())
    assert reports[0] == reports[1]


def test_scheme_and_settings(tmp_path):
    """Fewer bits lose more; --set changes the lanes and the window."""
    path = tmp_path / "report.json"
    done = run(
        *("evaluate", "demo", "--text", TEXT, "--max-tokens", 200, "--json", path),
        *("--scheme", "w3a8kv8", "--set", "vector_lanes=16", "--set", "max_seq_len=50"),
    )
    assert "w3a8kv8, 16 lanes" in done.stdout
    report = json.loads(path.read_text())
    assert report["integer"]["perplexity"] > 1.1 * report["float"]["perplexity"]
    model = celosia.reference.checkpoint.load("demo")
    scheme = Scheme(lanes=16, weight_width=3)
    assert report == evaluate_text(model, TEXT.read_text(), scheme, 50, max_tokens=200)


def test_long_parts_go_on_in_further_windows(tmp_path):
    """Every token of every part is predicted once, however it is cut."""
    parts = ["No more of this.\n" * 40, "Enter a messenger."]
    text = tmp_path / "text"
    text.write_text("<|endoftext|>".join(parts))
    tokenizer = celosia.reference.checkpoint.load("demo").tokenizer
    expected = sum(len(tokenizer.encode(p, bos=False)) for p in split_texts(text.read_text()))
    path = tmp_path / "report.json"
    assert run("evaluate", "demo", "--text", text, "--json", path).exit_code == 0
    assert expected > 256
    assert json.loads(path.read_text())["tokens"] == expected


def test_stories260k(stories260k, tmp_path):
    """Less than 1 % of perplexity is lost."""
    path = tmp_path / "report.json"
    done = run(
        *("evaluate", stories260k / "stories260K.bin", "--tokenizer", stories260k / "tok512.bin"),
        *("--text", stories260k / "tinystories_sample.txt", "--max-tokens", 1500, "--json", path),
    )
    assert done.exit_code == 0
    report = json.loads(path.read_text())
    assert report["tokens"] == 1500
    assert report["integer"]["perplexity"] < 1.01 * report["float"]["perplexity"]


def test_bad_input(tmp_path):
    text, empty, binary = (tmp_path / name for name in ("text", "empty", "binary"))
    text.write_text("Some words.")
    empty.write_text(" <|endoftext|>\n")
    binary.write_bytes(b"ab\xff")
    small = write_checkpoint(tmp_path)
    assert "no such file or directory" in fails("evaluate", tmp_path / "no", "--text", text)
    assert "No such file" in fails("evaluate", "demo", "--text", tmp_path / "no")
    assert "at least one token to predict" in fails("evaluate", "demo", "--text", empty)
    assert "not UTF-8: invalid start byte at byte 2" in fails("evaluate", "demo", "--text", binary)
    assert "give --tokenizer FILE" in fails("evaluate", small, "--text", text)
    for name in ("w9a8kv8", "w8a7kv8", "w8", "float"):
        message = fails("evaluate", "demo", "--text", text, "--scheme", name)
        assert "--scheme must be w4a8kv8 or the like, " in message
    settings = ("--set", "max_seq_len=300")
    message = fails("evaluate", "demo", "--text", text, *settings)
    assert message == "max_seq_len must be at most the model's 256, not 300"
    json_path = tmp_path / "no" / "report.json"
    message = fails("evaluate", "demo", "--text", text, "--json", json_path)
    assert message == f"{json_path}: No such file or directory"


def test_nothing_is_left_of_a_failed_run(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    fails("evaluate", "demo", "--text", empty, "--json", tmp_path / "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_usage():
    assert run("--version").stdout == f"celosia {celosia.__version__}\n"
    assert run("evaluate", "demo").exit_code == 2
    assert run("evaluate", "demo", "--text", TEXT, "--max-tokens", 0).exit_code == 2
    assert run("paint").exit_code == 2
    listed = run("configs").stdout
    assert all(name in listed for name in NAMED)


def test_module_and_threads():
    """``python -m celosia`` is the command; BLAS has one thread unless the user says otherwise."""
    command = [sys.executable, "-m", "celosia", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"celosia {celosia.__version__}\n"
    show = "import os, celosia.cli; print(os.environ['OPENBLAS_NUM_THREADS'])"
    for given, expected in ({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3"):
        clean = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
        command = [sys.executable, "-c", show]
        done = subprocess.run(command, env=clean | given, capture_output=True, check=True)
        assert done.stdout.decode().strip() == expected


def test_logits_of_tokens(tmp_path):
    """Both models' logits as a file, for the full and for the compact machine."""
    path = tmp_path / "logits.npz"
    compact = tmp_path / "mine.toml"
    compact.write_text((FOLDER / "compact.toml").read_text())
    for config in ("small", str(compact)):
        result = run(
            "evaluate", "demo", "--prompt-tokens", "5,6,7", "--logits", path, "--config", config
        )
        assert result.exit_code == 0, result.output
        with np.load(path) as found:
            assert found["float"].dtype == found["integer"].dtype == np.float32
            assert found["float"].shape == found["integer"].shape
            assert len(found["float"]) == 3
            spread = np.ptp(found["float"], axis=1).mean()
            assert np.abs(found["float"] - found["integer"]).max() < 0.3 * spread
        path.unlink()


def test_a_compact_machine_of_a_file(tmp_path):
    """Its own numbers; and what is wrong in it is told."""
    mine, path = tmp_path / "mine.toml", tmp_path / "report.json"
    mine.write_text((FOLDER / "compact.toml").read_text())
    command = ("evaluate", "demo", "--text", TEXT, "--max-tokens", 60, "--config", mine)
    done = run(*command, "--json", path)
    assert "w4a8kv8, 4 lanes" in done.stdout
    assert json.loads(path.read_text())["saturated"] == {}
    message = fails(*command, "--scheme", "w4a8kv8")
    assert message == "--scheme must not be given for the compact machine"
    message = fails(*command, "--set", "window=6")
    assert message == "window must be a multiple of 4 from 4 to 2048, not 6"


def test_logits_need_tokens(tmp_path):
    for arguments in ((), ("--prompt-tokens", "1"), ("--logits", tmp_path / "a.npz")):
        result = run("evaluate", "demo", *arguments)
        assert result.exit_code == 2
        assert not [*tmp_path.iterdir()]
