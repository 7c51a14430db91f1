"""Rotations and factors keep the float output, and change what they are for."""

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.model import random_model
from celosia.reference.rewrites.column_factors import scale_site, sites
from celosia.reference.rewrites.rewrites import REWRITES
from celosia.reference.rewrites.rotation import orthogonal, rotate_stream, rotate_values
from families.cases import CASES, relative_difference

ROTATED = ("llama-biases", "gpt2-tied", "gpt_neox-parallel", "mixtral-two", "granite-tied")


def read(tmp_path, name):
    """A case's model in the machine's form without pairs, its tokens and logits."""
    (case,) = (case for case in CASES if case.name == name)
    model = load(case.write(tmp_path / name))
    for rewrite in REWRITES[:-1]:
        model = rewrite(model)
    return model, case.tokens, float32.forward(model, case.tokens)


@pytest.mark.parametrize("n", [1, 7, 12, 64, 576])
def test_orthogonal(n):
    q = orthogonal(n, 3)
    np.testing.assert_allclose(q @ q.T, np.eye(n), atol=1e-12)
    np.testing.assert_array_equal(q, orthogonal(n, 3))
    assert n == 1 or (q != orthogonal(n, 4)).any()
    if n in (64, 576):  # Hadamard's
        np.testing.assert_allclose(np.abs(q), n**-0.5)


@pytest.mark.parametrize("name", ROTATED)
def test_rotations_keep_the_logits(tmp_path, name):
    model, tokens, before = read(tmp_path, name)
    for rotated in (rotate_stream(model, 1), rotate_values(model, 1)):
        assert relative_difference(float32.forward(rotated, tokens), before) <= 2e-5
    assert not rotate_stream(model).config.tied


def test_a_rotation_spreads_outliers(tiny_config):
    """Of a model whose stream has one large value, R1 makes all alike; R2 does so for values."""
    model = random_model(tiny_config())
    model.tensors["embedding"][:, 3] *= 100
    rotated = rotate_stream(model).tensors["embedding"]
    assert np.ptp(np.abs(rotated).mean(axis=0)) < 0.5 * np.abs(rotated).mean()
    model.layers[0]["wv"][1] *= 100
    rows = np.linalg.norm(rotate_values(model).layers[0]["wv"][:4], axis=1)
    assert rows.max() < 1.2 * rows.min()


@pytest.mark.parametrize(
    ("name", "rotate", "message"),
    [
        ("gemma2-untied", rotate_stream, "Add of layer 0: the residual stream cannot be rotated"),
        ("opt-after", rotate_stream, "the residual stream cannot be rotated"),
        ("bitnet-inverse", rotate_values, "layer 0: its heads cannot be rotated: Norm beside"),
        ("olmoe-clip", rotate_values, "layer 0: its heads cannot be rotated: Clip beside"),
    ],
)
def test_what_cannot_be_rotated_is_named(tmp_path, name, rotate, message):
    with pytest.raises(ValueError, match=message):
        rotate(read(tmp_path, name)[0])


@pytest.mark.parametrize(("name", "count"), [("llama-biases", 4), ("gpt2-tied", 3), ("phi-qk", 2)])
def test_factors_keep_the_logits(tmp_path, name, count):
    model, tokens, before = read(tmp_path, name)
    rng = np.random.default_rng(0)
    operations, sizes = model.description.layers[0], model.description.sizes
    found = sites(operations, sizes)
    assert len(found) == count
    for site in found:
        factors = rng.uniform(0.2, 5, (site.heads[0], site.heads[2]))
        changed = scale_site(model.layers[0], site, factors)
        assert changed.keys() == {*site.makers, *site.readers}
        model.layers[0] = model.layers[0] | changed
        assert relative_difference(float32.forward(model, tokens), before) <= 2e-5


def test_experts_and_clipped_values_have_no_factors(tmp_path):
    model, _, _ = read(tmp_path, "olmoe-clip")
    operations, sizes = model.description.layers[0], model.description.sizes
    assert [site.vector for site in sites(operations, sizes)] == ["h"]
