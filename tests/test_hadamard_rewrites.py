"""Hadamard transforms on the way change no logits but for rounding, and what they are for."""

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.operations import Attention, Hadamard, Linear
from celosia.reference.operations.linear import LinearPair
from celosia.reference.quantization.calibration import calibrate
from celosia.reference.quantization.scheme import Scheme
from celosia.reference.rewrites.hadamard_rewrites import transform_heads, transform_hidden
from celosia.reference.rewrites.rewrites import machine_form, transformed
from families.cases import CASES, relative_difference


@pytest.fixture
def read(tmp_path):
    """A function that reads the case of a name, and its tokens."""

    def read_case(name):
        (case,) = (case for case in CASES if case.name == name)
        return load(case.write(tmp_path / name)), case.tokens

    return read_case


@pytest.mark.parametrize("name", ["llama-biases", "gpt2-tied", "gemma3_text-types", "phi-fraction"])
def test_logits_stay(read, name):
    """Gated and plain, with biases, with norms of heads, without a rotation."""
    model, tokens = read(name)
    size = model.config.head_dim & -model.config.head_dim
    assert size > 1
    before = float32.forward(model, tokens)
    form = machine_form(model, False, 4, size)
    assert len(form.description.find(Hadamard)) == 3 * model.config.n_layers
    assert relative_difference(float32.forward(form, tokens), before) <= 1e-5
    once = transformed(model, 4, size)
    assert transformed(once, 4, size).description == once.description


def test_hidden_values_become_whole_blocks():
    model = random_model(ModelConfig(8, 10, 1, 1, 1, 8, 20, 8))
    form = machine_form(model, False, 8, 0)
    (pair,) = form.description.find(LinearPair)
    down = form.description.layers[0][-1]
    assert isinstance(down, Linear)
    assert [form.layers[0][name].shape for name in (*pair.weights, down.weight)] == [
        (16, 8),
        (16, 8),
        (8, 16),
    ]
    tokens = [1, 5, 7]
    after, before = (float32.forward(each, tokens) for each in (form, model))
    assert relative_difference(after, before) <= 1e-5


def test_a_size_that_is_no_square_is_in_the_scale():
    model = random_model(ModelConfig(8, 16, 1, 1, 1, 8, 20, 8))
    (before,), (after,) = (
        each.description.find(Attention) for each in (model, transform_heads(model, 8))
    )
    assert after.scale == pytest.approx(2 * before.scale)


@pytest.mark.parametrize(
    ("name", "rewrite", "size", "message"),
    [
        ("odd", transform_heads, 4, "rotate_keys must divide a head's 6 values, not 4"),
        ("olmoe-clip", transform_heads, 2, "rotate_keys must be 0 for queries that are clipped"),
        ("mixtral-two", transform_hidden, 4, "rotate_down must be 0 for a model with experts"),
        ("bitnet-inverse", transform_hidden, 4, "rotate_down must be 0, not 4: no matrix reads"),
    ],
)
def test_what_does_not_fit(read, name, rewrite, size, message):
    if name == "odd":
        model = random_model(ModelConfig(12, 16, 1, 2, 2, 6, 20, 8))
    else:
        model, _ = read(name)
    with pytest.raises(ValueError, match=message):
        rewrite(model, size)


@pytest.mark.parametrize(
    ("large", "narrow", "size"),
    [
        ("wk", {"key_width": 4}, {"rotate_keys": 8}),
        ("w_up", {"activation_width": 4}, {"rotate_down": 8}),
    ],
)
def test_few_bits_lose_less(large, narrow, size):
    """Of blocks in which one value is larger than the others."""
    model = random_model(ModelConfig(16, 32, 1, 2, 2, 8, 37, 24), seed=3)
    model.layers[0][large][::8] *= 8
    tokens = np.random.default_rng(0).integers(0, 37, 24).tolist()
    exact = float32.forward(model, tokens)
    errors = []
    for changes in (narrow, narrow | size):
        scheme = Scheme(lanes=8, **changes)
        quantized = scheme.quantize(model, calibrate(scheme.form(model), tokens))
        logits = quantized.logits(tokens)[0] * 2.0**-quantized.logit_fraction
        errors.append(np.square(logits - exact).mean())
    assert errors[1] < 0.9 * errors[0]
