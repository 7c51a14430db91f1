"""The recipe spinquant: a learned rotation, its rounded activations; refused without PyTorch."""

import sys

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.model import random_model
from celosia.reference.quantization.scheme import Scheme
from celosia.reference.recipes.apply import apply_recipe
from celosia.reference.recipes.recipe import RECIPES, Recipe, RecipeError
from celosia.reference.rewrites.rewrites import REWRITES
from celosia.reference.rewrites.rotation import rotate_stream
from celosia.reference.units.block_quantize import block_quantize
from test_recipes import TEXTS

SCHEME = Scheme(lanes=2, weight_width=4, group=4, activation_width=4, rotate_down=4)


def test_refused_without_pytorch(tiny_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    model = random_model(tiny_config())
    with pytest.raises(RecipeError, match=r"learn needs PyTorch, .* pip install 'celosia\[train"):
        apply_recipe(model, SCHEME, RECIPES["spinquant"], TEXTS)


@pytest.fixture
def spin():
    pytest.importorskip("torch", reason="needs PyTorch: pip install celosia[train]")
    from celosia.training import spin

    return spin


def test_activations_round_as_the_machines(spin):
    rng = np.random.default_rng(0)
    x = rng.integers(-(1 << 20), 1 << 20, (50, 12)) >> rng.integers(0, 20, (50, 1))
    for width in (8, 4):
        mantissa, exponent = block_quantize(x.reshape(50, -1, 4), width)
        expected = np.ldexp(mantissa.astype(float), exponent[..., None]).reshape(x.shape)
        found = spin.block_rounded(spin.torch.tensor(x.astype(np.float32)), 4, width)
        np.testing.assert_array_equal(found.numpy(), expected)


def test_a_learned_rotation_loses_less(spin, tiny_config, monkeypatch):
    """Where what is large is distorted most, a stream with one large value is spread."""
    monkeypatch.setattr(spin, "RATE", 0.03)
    monkeypatch.setattr(spin, "orthogonal", lambda n, seed: np.eye(n))
    monkeypatch.setattr(spin, "block_rounded", lambda x, lanes, width: x + 0.02 * x**3)
    model, losses = random_model(tiny_config(), seed=4), []
    model.tensors["embedding"][:, 3] *= 30
    for rewrite in REWRITES[:-1]:
        model = rewrite(model)
    rest = TEXTS, 40, 3, lambda *told: losses.append(told)
    found = spin.learned_rotation(model, Scheme(lanes=2), *rest)
    assert [(step, steps) for step, steps, _ in losses] == [(n, 40) for n in range(1, 41)]
    np.testing.assert_allclose(found @ found.T, np.eye(len(found)), atol=1e-12)
    mean = [np.mean([loss for _, _, loss in part]) for part in (losses[:4], losses[-20:])]
    assert mean[1] < 0.7 * mean[0], mean
    rotated = rotate_stream(model, rotation=found)
    before, after = (float32.forward(each, TEXTS[0]) for each in (model, rotated))
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())


def test_a_recipe_that_learns(spin, tiny_config):
    """It is kept by its name; the same call gives the same codes."""
    model, kept = random_model(tiny_config(), seed=4), {}

    def keep(name, make):
        return kept.setdefault(name, None) or kept.update({name: make()}) or kept[name]

    recipe = Recipe(rotate=True, learn=2, rounding="gptq")
    coded = apply_recipe(model, SCHEME, recipe, TEXTS, keep)
    again = apply_recipe(model, SCHEME, recipe, TEXTS)
    assert kept["rotation"]["stream"].shape == (model.config.dim, model.config.dim)
    for key, each in coded.codes.items():
        np.testing.assert_array_equal(each.codes, again.codes[key].codes)
