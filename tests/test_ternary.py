"""Ternary weights in integers: nothing is rounded, tables are sums of digits."""

from dataclasses import replace

import numpy as np
import pytest
from celosia.generators.config import Config, ConfigError, load_config
from celosia.generators.plan import make_plan
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.operations.linear import IntegerLinear
from celosia.reference.quantization.digits import DIGITS, digits
from celosia.reference.quantization.quantize import Scheme, quantize
from families.cases import CASES, relative_difference

TERNARY = Scheme(weight_width=2, ternary=True)
SETTINGS = ("weight_width=2", "head_width=0", "weight_format=ternary")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small MatMul-free model."""
    (case,) = (case for case in CASES if case.name == "hgrn_bit-bounds")
    return load(case.write(tmp_path_factory.mktemp("ternary") / case.name))


def test_weights_are_the_models(model):
    """Every matrix is its codes times its rows' steps, exactly; gains are not in them."""
    quantized = quantize(model, TERNARY)
    for layer, operations in zip(model.layers, quantized.layers, strict=True):
        matrices = {op.name: op.matrix for op in operations if isinstance(op, IntegerLinear)}
        weight = matrices["w_fill"].weight
        np.testing.assert_array_equal(weight, np.sign(layer["w_fill"]))


def test_loses_no_more_than_eight_bits(model):
    tokens = np.random.default_rng(1).integers(0, model.config.vocab_size, 40)
    exact = float32.forward(model, tokens)
    logits, saturated = (quantized := quantize(model, TERNARY)).logits(tokens)
    assert relative_difference(logits * 2.0**-quantized.logit_fraction, exact) <= 0.03
    assert not any(saturated.values())


def test_digits_of_a_table():
    table = np.random.default_rng(2).normal(size=(7, 10)).astype(np.float32)
    table[3] = 0
    parts = digits(table, 2.0**14, TERNARY)
    assert len(parts) == DIGITS
    assert {*np.unique([part.weight for part in parts])} == {-1, 0, 1}
    found = sum(part.weight * (part.scale * 2.0**-part.shift)[:, None] for part in parts)
    step = np.abs(table).max(axis=1, keepdims=True) / 121 * 2.0**14
    assert (np.abs(found[:, :10] - table * 2.0**14) <= 0.51 * step + 1e-9).all()
    assert not found[:, 10:].any()


def test_error_does_not_grow_with_the_sequence():
    """Of layers that remember 10 to 500 positions, over 1,200."""
    config = ModelConfig(
        dim=32,
        hidden_dim=64,
        n_layers=3,
        n_heads=1,
        n_kv_heads=1,
        head_dim=32,
        vocab_size=64,
        seq_len=1200,
        tied=False,
        norm_eps=1e-6,
        family="hgrn_bit",
        options={"lower_bounds": True},
    )
    model = random_model(config, seed=1)
    for layer, bound in zip(model.layers[1:], (0.9, 0.998), strict=True):
        layer["bounds"][:] = bound
    tokens = np.random.default_rng(0).integers(0, 64, 1200)
    exact = float32.forward(model, tokens)
    logits, _ = (quantized := quantize(model)).logits(tokens)
    errors = np.abs(logits * 2.0**-quantized.logit_fraction - exact).mean(axis=1)
    first, last = errors[:200].mean(), errors[-200:].mean()
    assert last <= 1.2 * first


def test_other_weights_are_refused(model):
    layers = [dict(layer) for layer in model.layers]
    layers[1]["wo"] = layers[1]["wo"] * np.linspace(0.5, 1, 24, dtype=np.float32)
    with pytest.raises(ValueError, match=r"layers\.1\.wo is not ternary"):
        quantize(replace(model, layers=layers), TERNARY)
    with pytest.raises(ConfigError, match=r"layers\.1\.wo is not ternary"):
        make_plan(replace(model, layers=layers), load_config("tiny", SETTINGS))


def test_a_tied_embedding_is_refused():
    with pytest.raises(ValueError, match=r"embedding is not ternary \(it is the embedding, too\)"):
        quantize(load("demo"), TERNARY)


def test_what_a_machine_says_of_its_numbers(model):
    formats = make_plan(model, load_config("tiny", SETTINGS)).formats
    assert formats["weights"] == "ternary, in 2 bits, a uint16 scale per row"
    assert formats["states"].startswith("int18 with ")
    assert "keys" not in formats


def test_a_wide_head_is_no_ternary_one():
    """Of demo-ternary, whose layers are ternary: its head has 8 bits for keys' multipliers."""
    settings = "weight_parallelism=64", "vector_lanes=4", "group_size=0", *SETTINGS
    with pytest.raises(ConfigError, match=r"embedding is not ternary \(it is the embedding, too"):
        make_plan(load("demo-ternary"), load_config("tiny", settings))
    plan = make_plan(load("demo-ternary"), load_config("tiny", [*settings, "head_width=8"]))
    assert plan.program.wide
    assert plan.shape.cached_rows == 4


def test_formats_refused():
    with pytest.raises(
        ConfigError, match="weight_format must be integer, ternary or trits, not 'bits'"
    ):
        Config(weight_format="bits")
    with pytest.raises(ConfigError, match="weight_format=ternary needs weight_width=2 and no grou"):
        Config(weight_format="ternary")
    with pytest.raises(ValueError, match="ternary weights have 2 bits and no groups, not 4"):
        Scheme(weight_width=4, ternary=True)
