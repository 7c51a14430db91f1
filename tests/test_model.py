"""The model's configuration and its checks."""

import math
from dataclasses import replace

import numpy as np
import pytest
from celosia.reference.model import ModelConfig, RopeScaling, random_model

CONFIG = ModelConfig(
    dim=12,
    hidden_dim=20,
    n_layers=2,
    n_heads=6,
    n_kv_heads=2,
    head_dim=4,
    vocab_size=33,
    seq_len=16,
)


def test_shapes():
    model = random_model(CONFIG, seed=1)
    assert "head" not in model.tensors
    assert model.layers[1]["wq"].shape == (24, 12)
    assert model.layers[1]["wk"].shape == (8, 12)
    assert model.layers[0]["w_down"].shape == (12, 20)
    untied = random_model(replace(CONFIG, tied=False), seed=1)
    assert not np.array_equal(untied.tensors["head"], untied.tensors["embedding"])


def test_random_model_is_seeded():
    one, same, other = (random_model(CONFIG, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.layers[1]["w_down"], same.layers[1]["w_down"])
    assert not np.array_equal(one.tensors["embedding"], other.tensors["embedding"])


def test_rope_frequencies():
    config = replace(CONFIG, head_dim=8, rope_theta=10000.0)
    np.testing.assert_allclose(config.rope_frequencies, [1, 0.1, 0.01, 0.001], rtol=1e-12)
    divided = replace(config, rope_factors=(1.0, 2.0, 4.0, 8.0))
    np.testing.assert_allclose(divided.rope_frequencies, [1, 0.05, 0.0025, 0.000125], rtol=1e-12)


def test_llama3_scaling():
    """The three bands of Llama 3.1 (factor 8, 1 and 4, 8192), from the published definition."""
    scaling = RopeScaling(8.0, 1.0, 4.0, 8192)
    config = replace(CONFIG, head_dim=128, rope_theta=500000.0)
    plain = config.rope_frequencies
    scaled = replace(config, rope_scaling=scaling).rope_frequencies
    bands = set()
    for before, after in zip(plain, scaled, strict=True):
        wavelength = 2 * math.pi / before
        if wavelength < 8192 / 4:
            bands.add("kept")
            expected = before
        elif wavelength > 8192:
            bands.add("divided")
            expected = before / 8
        else:
            bands.add("blended")
            smooth = (8192 / wavelength - 1) / (4 - 1)
            expected = (1 - smooth) * before / 8 + smooth * before
        assert after == pytest.approx(expected, rel=1e-12)
    assert bands == {"kept", "divided", "blended"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim must be a positive integer, not 0"),
        ({"n_layers": 1.5}, "n_layers must be a positive integer, not 1.5"),
        ({"seq_len": True}, "seq_len must be a positive integer, not True"),
        ({"head_dim": 3}, "head_dim must be even, not 3"),
        ({"n_kv_heads": 4}, r"n_kv_heads must divide n_heads \(6\), which 4 does not"),
        ({"rope_theta": 0.0}, "rope_theta must be greater than 0"),
        ({"norm_eps": math.nan}, "norm_eps must be 0 or more"),
        ({"rope_factors": (1.0,)}, "rope_factors must have 2 values, not 1"),
        ({"rope_factors": (1.0, 0.0)}, "rope_factors must all be greater than 0"),
    ],
)
def test_bad_config(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.5, 1.0, 4.0, 8192), "factor must be at least 1"),
        ((8.0, 4.0, 1.0, 8192), "low_freq_factor and high_freq_factor must be positive"),
        ((8.0, 1.0, 4.0, 0), "original_seq_len must be at least 1"),
    ],
)
def test_bad_scaling(arguments, message):
    with pytest.raises(ValueError, match=message):
        RopeScaling(*arguments)


def test_bad_tensors():
    model = random_model(CONFIG)

    def changed(**tensors):
        return replace(model, tensors=model.tensors | tensors)

    embedding, norm = model.tensors["embedding"], model.tensors["norm"]
    with pytest.raises(ValueError, match=r"embedding must have the shape \[33, 12\]"):
        changed(embedding=embedding[1:])
    with pytest.raises(ValueError, match="layers must number 2, not 1"):
        replace(model, layers=model.layers[1:])
    broken = model.layers[1] | {"wq": model.layers[1]["wk"]}
    with pytest.raises(ValueError, match=r"layers\.1\.wq must have the shape \[24, 12\]"):
        replace(model, layers=[model.layers[0], broken])
    with pytest.raises(ValueError, match="norm must be a float32 array, not float64"):
        changed(norm=norm.astype(np.float64))
    with pytest.raises(ValueError, match="norm holds a value that is not finite"):
        changed(norm=norm * np.float32(np.nan))
    with pytest.raises(ValueError, match="head is a tensor that the model does not have"):
        changed(head=embedding)
    with pytest.raises(ValueError, match="head is missing"):
        replace(model, config=replace(CONFIG, tied=False), description=None)
