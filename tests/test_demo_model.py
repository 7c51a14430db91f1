"""The embedded demo model is what its README says it is."""

import math
import re
import shlex
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import scheme_of
from celosia.reference import float32, integer
from celosia.reference.checkpoint import load
from celosia.reference.quantization.quantize import quantize
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

ROOT = Path(__file__).parents[1]
FOLDER = Path(str(files("celosia") / "models" / "demo"))
README = (FOLDER / "README.md").read_text(encoding="utf-8")
HELD_OUT = Path(__file__).parent / "data" / "shakespeare_heldout.txt"


@pytest.fixture(scope="module")
def demo():
    return load("demo")


def stated(pattern):
    """The number that the README states where ``pattern`` has its group."""
    (number,) = re.findall(pattern, README)
    return float(number.replace(",", ""))


def nats(model, text):
    """Mean negative log-likelihood per token, in chunks of ``seq_len - 1`` tokens after a begin."""
    tokens = model.tokenizer.encode(text, bos=False)
    length = model.config.seq_len - 1
    total = 0.0
    for start in range(0, len(tokens), length):
        chunk = tokens[start : start + length]
        logits = float32.forward(model, [model.tokenizer.bos, *chunk[:-1]]).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        chosen = logits[np.arange(len(chunk)), chunk]
        total += float(np.sum(np.log(np.exp(logits).sum(axis=1)) - chosen))
    return total / len(tokens)


def test_shape(demo):
    config = demo.config
    shape = (config.dim, config.hidden_dim, config.n_layers, config.n_heads, config.n_kv_heads)
    assert shape == (96, 224, 4, 6, 2)
    assert (config.head_dim, config.vocab_size, config.seq_len) == (16, 512, 256)
    assert config.tied
    assert (config.rope_theta, config.norm_eps) == (10000.0, 1e-5)


def test_weights_are_small_bfloat16():
    path = FOLDER / "model.safetensors"
    assert path.stat().st_size <= 900_000
    count = 0
    with safe_open(path, framework="numpy") as weights:
        for name in sorted(weights.keys()):
            tensor = weights.get_slice(name)
            assert tensor.get_dtype() == "BF16", name
            count += math.prod(tensor.get_shape())
    assert count == stated(r"([\d,]+) parameters")


def test_held_out_perplexity_is_the_stated_one(demo):
    measured = math.exp(nats(demo, HELD_OUT.read_text(encoding="utf-8")))
    expected = stated(r"shakespeare_heldout\.txt` \| [\d,]+ \| ([\d.]+) \|")
    assert measured == pytest.approx(expected, rel=0.01)


def test_greedy_text_is_the_stated_one(demo):
    (text,) = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)
    prompt = demo.tokenizer.encode("ROMEO:\n")
    tokens = prompt + float32.generate(demo, prompt, 100)
    assert demo.tokenizer.decode(tokens) == text.removesuffix("\n")


def test_make_demos_text_is_that_of_the_first_page(demo):
    """The integer model's: what machines give is compared with it, logit by logit."""
    command = re.search(r"^DEMO := .*celosia (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    _, name, *words = shlex.split(command[1])
    options = dict(zip(words[::2], words[1::2], strict=True))
    prompt = demo.tokenizer.encode(options["--prompt"])
    heat = round(256 * float(options["--temperature"]))
    model = quantize(demo, scheme_of(load_config("small")))
    n, seed = int(options["--tokens"]), int(options["--seed"])
    chosen, _ = integer.generate(model, prompt, n, heat, seed)
    text = demo.tokenizer.decode([*prompt, *chosen])
    assert name == "demo"
    assert f"```\n{text.rstrip()}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_begin_is_token_0(demo):
    assert demo.tokenizer.bos == demo.tokenizer.eos == 0
    assert demo.tokenizer.encode("") == [0]
    assert demo.tokenizer.encode("<|begin|>", bos=False) == [0]
    assert demo.tokenizer.decode([0]) == ""


def test_every_byte_has_a_token(demo):
    singles = {piece for piece in demo.tokenizer.pieces if len(piece) == 1}
    assert len(demo.tokenizer.pieces) == 512
    assert singles == {bytes([value]) for value in range(256)}


@given(st.text().filter(lambda text: "<|begin|>" not in text))
def test_tokenizer_round_trips(demo, text):
    assert demo.tokenizer.decode(demo.tokenizer.encode(text)) == text


def test_tokenizer_round_trips_held_out_text(demo):
    text = HELD_OUT.read_text(encoding="utf-8")
    tokens = demo.tokenizer.encode(text)
    assert demo.tokenizer.decode(tokens) == text
    assert len(tokens) < len(text.encode()) / 1.7
