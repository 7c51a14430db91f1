"""The embedded tiny model is what its README says, and fills the Tang Nano 9K."""

import json
import math
import re
from dataclasses import replace

import pytest
from celosia.boards.catalog import BOARDS
from celosia.boards.compact_estimate import settings
from celosia.boards.estimate import board_config, check_fit, smallest_config
from celosia.generators.config import change_config, load_config
from celosia.generators.plan import make_plan
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.compact.quantize import quantize_compact
from command_line import run
from test_demo_model import HELD_OUT, nats
from test_small_demo import kept_codes
from test_ternary_demos import readme

README = readme("demo-tiny")
WINDOW = 32
BOARD = BOARDS["tang_nano_9k"]


@pytest.fixture(scope="module")
def model():
    return load("demo-tiny")


def stated(pattern):
    (number,) = re.findall(pattern, README)
    return float(number.replace(",", ""))


def test_the_compact_machine_keeps_the_codes(model):
    assert model.description.parameters == stated(r"A Llama of ([\d,]+) parameters")
    assert kept_codes(model, quantize_compact(model, WINDOW, ternary=True)) >= 0.998


def test_held_out_perplexity_is_the_stated_one(model):
    measured = math.exp(nats(model, HELD_OUT.read_text(encoding="utf-8")))
    assert measured == pytest.approx(stated(r"float32 of these weights \| ([\d.]+) \|"), rel=0.01)


def test_greedy_text_is_the_stated_one(model):
    text = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)[0]
    prompt = model.tokenizer.encode("KING RICHARD:\n")
    tokens = prompt + float32.generate(model, prompt, 60)
    assert model.tokenizer.decode(tokens) == text.removesuffix("\n")


def test_the_machine_that_is_chosen(model):
    """That of ternary weights, with the model's own window and its whole context."""
    config = board_config(model, BOARD)
    assert (config.machine, config.weight_format, config.boot) == ("compact", "trits", "image")
    assert (config.window, config.max_seq_len) == (WINDOW, 256)
    assert check_fit(model.config, config, BOARD).bram == 25
    plan = make_plan(model, config)
    assert 8 * len(plan.image.weights) == stated(r"on the machine's tape \| ([\d,]+) \|")
    assert plan.shape.multipliers == 40
    words = [word for word in settings(config).split()[2:] if word != "--set"]
    assert replace(change_config(load_config("compact"), words), name=config.name) == config


def test_other_boards_have_ternary_machines_too(model):
    found = board_config(model, BOARDS["icebreaker"])
    assert (found.weight_format, found.weight_parallelism, found.boot) == ("trits", 8, "flash")
    for name in ("icebreaker", "tang_nano_9k"):
        assert smallest_config(model.config, BOARDS[name]).weight_format == "trits"


@pytest.mark.slow
def test_text_out_of_the_compact_machine(tmp_path):
    """60 tokens, every logit equal to the integer reference's."""
    path, choices = tmp_path / "run.json", ("weight_format=trits", "boot=image", "window=32")
    words = ["--config", "compact", *(word for each in choices for word in ("--set", each))]
    words += ["--prompt", "KING RICHARD:\n", "--tokens", 60, "--json", path]
    done = run("simulate", "demo-tiny", *words)
    assert done.exit_code == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["logits_match"]
    assert len(result["tokens"]) == 60
