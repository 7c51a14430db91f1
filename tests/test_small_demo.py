"""The embedded small model is what its README says: 4 bits, as the compact machine has them."""

import json
import math
import re

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.compact.operations import CompactLinear
from celosia.reference.compact.quantize import quantize_compact
from command_line import run
from test_demo_model import HELD_OUT, nats
from test_ternary_demos import readme

README = readme("demo-small")
WINDOW = 32


@pytest.fixture(scope="module")
def model():
    return load("demo-small")


def stated(pattern):
    (number,) = re.findall(pattern, README)
    return float(number.replace(",", ""))


def kept_codes(model, machine):
    """The share of the model's codes that the compact machine's integer model has, too."""
    kept, count = 0, 0
    for index, operations in [*enumerate(machine.layers), (None, machine.end)]:
        for op in operations:
            if isinstance(op, CompactLinear):
                codes = model.codes[index, op.name].codes
                kept += np.count_nonzero(op.matrix.codes == codes)
                count += codes.size
    return kept / count


def test_weights_have_4_bits_and_a_scale_for_each_row(model):
    assert model.description.parameters == stated(r"([\d,]+) parameters in 4") <= 200_000
    assert len(model.codes) == 7 * model.config.n_layers + 1
    for key, coded in model.codes.items():
        assert (coded.codes.min(), coded.codes.max()) >= (-8, 3), key
        assert coded.codes.max() <= 7, key
        assert coded.scales.shape[1] == 1


def test_the_compact_machine_keeps_the_codes(model):
    assert kept_codes(model, quantize_compact(model, WINDOW)) >= 0.998


def test_held_out_perplexity_is_the_stated_one(model):
    measured = math.exp(nats(model, HELD_OUT.read_text(encoding="utf-8")))
    assert measured == pytest.approx(stated(r"float32 of these weights \| ([\d.]+) \|"), rel=0.01)


def test_greedy_text_is_the_stated_one(model):
    text = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)[0]
    prompt = model.tokenizer.encode("KING RICHARD:\n")
    tokens = prompt + float32.generate(model, prompt, 60)
    assert model.tokenizer.decode(tokens) == text.removesuffix("\n")


@pytest.mark.slow
def test_text_out_of_the_compact_machine(tmp_path):
    """60 tokens, every logit equal to the integer reference's."""
    path, settings = tmp_path / "run.json", ("--config", "compact", "--set", f"window={WINDOW}")
    words = ("--prompt", "KING RICHARD:\n", "--tokens", 60, "--json", path)
    done = run("simulate", "demo-small", *settings, *words)
    assert done.exit_code == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["logits_match"]
    assert len(result["tokens"]) == 60
