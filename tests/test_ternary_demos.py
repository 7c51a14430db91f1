"""The embedded models with ternary weights are what their READMEs say."""

import json
import math
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import load, load_tokenizer
from celosia.reference.compact.quantize import CompactScheme
from celosia.reference.evaluate import evaluate_text
from celosia.reference.quantization.quantize import Scheme, quantize
from command_line import run
from test_demo_model import HELD_OUT, nats

NAMES = ("demo-ternary", "demo-matmulfree")


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def readme(name):
    return (Path(str(files("celosia"))) / "models" / name / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", [*NAMES, "demo-tiny", "stories-ternary"])
def test_layers_are_ternary(name):
    """And as many weights as the README says."""
    model, count = load(name), 0
    for (layer, weight), coded in model.codes.items():
        if layer is not None:
            assert np.abs(coded.codes).max() == 1, weight
            assert coded.scales.shape[1] == 1
            count += coded.codes.size
    (stated,) = re.findall(r"([\d,]+) ternary weights", readme(name))
    assert count == int(stated.replace(",", ""))


def test_held_out_perplexity_is_the_stated_one(name):
    measured = math.exp(nats(load(name), HELD_OUT.read_text(encoding="utf-8")))
    (stated,) = re.findall(r"heldout\.txt` .*\| ([\d.]+) \|\n", readme(name))
    assert measured == pytest.approx(float(stated), rel=0.01)


def test_greedy_text_is_the_stated_one(name):
    model = load(name)
    (text,) = re.findall(r"```text\n(.*?)```", readme(name), flags=re.DOTALL)
    prompt = model.tokenizer.encode("KING RICHARD:\n")
    tokens = prompt + float32.generate(model, prompt, 60)
    assert model.tokenizer.decode(tokens) == text.removesuffix("\n")


def test_stories_of_the_compact_machine(stories260k):
    """The perplexities of 2,000 tokens are what the README says, the float model's and its own."""
    model = replace(load("stories-ternary"), tokenizer=load_tokenizer(stories260k / "tok512.bin"))
    text = (stories260k / "tinystories_sample.txt").read_text(encoding="utf-8")
    found = evaluate_text(model, text, CompactScheme(24, 8, ternary=True), 256, max_tokens=2000)
    (stated,) = re.findall(
        r"2,000 tokens of it \| ([\d.]+) \| ([\d.]+) \|", readme("stories-ternary")
    )
    measured = found["float"]["perplexity"], found["integer"]["perplexity"]
    assert measured == pytest.approx([float(each) for each in stated], rel=0.002)


@pytest.mark.slow
def test_error_of_states_does_not_grow_over_2000_positions():
    """In one run, without a begin token in it: the integer model's nats beside the float one's."""
    model = load("demo-matmulfree")
    model = replace(model, config=replace(model.config, seq_len=2000))
    tokens = np.array(model.tokenizer.encode(HELD_OUT.read_text(encoding="utf-8"))[:2001])
    quantized = quantize(model, Scheme(weight_width=2, ternary=True))
    logits, saturated = quantized.logits(tokens[:-1])
    exact = token_nats(float32.forward(model, tokens[:-1]), tokens[1:])
    found = token_nats(logits * 2.0**-quantized.logit_fraction, tokens[1:])
    assert abs(math.exp(found.mean() - exact.mean()) - 1) < 0.001
    quarters = np.abs(found - exact).reshape(4, 500).mean(axis=1)
    assert quarters[-1] < 1.25 * quarters[0]
    assert not any(saturated.values())


def token_nats(logits, targets):
    """What the logits of each position cost of its target."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets]


@pytest.mark.slow
def test_text_out_of_the_machine(name, tmp_path):
    """60 tokens, every logit equal to the integer reference's."""
    path = tmp_path / "run.json"
    done = run("simulate", name, "--prompt", "KING RICHARD:\n", "--tokens", 60, "--json", path)
    assert done.exit_code == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["logits_match"]
    assert len(result["tokens"]) == 60
