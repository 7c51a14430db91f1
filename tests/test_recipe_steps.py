"""The steps of recipes against plain float implementations, on random layers."""

import numpy as np
import pytest
from celosia.reference.quantization.coded import Coded
from celosia.reference.quantization.scheme import Scheme
from celosia.reference.recipes.awq import POWERS, awq_factors
from celosia.reference.recipes.gptq import gptq
from celosia.reference.recipes.grid import CLIPS, clipped
from celosia.reference.recipes.smoothquant import smooth_factors
from celosia.reference.rewrites.column_factors import Site

SITE = Site("h", ("gain",), ("a", "b"), (1, 1, 32))


def layer(rows=6, columns=32, seed=0):
    """A weight, inputs of very different sizes and some correlation, and their Hessian."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, columns)) @ rng.standard_normal((columns, columns)) * 0.3
    x = (x + rng.standard_normal(x.shape)) * np.exp(rng.normal(0, 1, columns))
    return rng.standard_normal((rows, columns)).astype(np.float32), x, x.T @ x


def columns(n):
    return np.arange(n), n


def obq(weight, hessian, grid, width, damping, order):
    """Column by column, the rest's optimal change by the inverse of what is left: plain OBQ."""
    w, half = weight.astype(np.float64), 1 << (width - 1)
    h = hessian + damping * np.mean(np.diag(hessian)) * np.eye(len(hessian))
    codes, left = np.zeros(w.shape), list(order)
    while left:
        c, group = left[0], grid.groups[left[0]]
        scale = grid.scales[:, group].astype(np.float64)
        base = np.zeros(len(w)) if grid.offsets is None else grid.offsets[:, group]
        codes[:, c] = np.clip(np.round((w[:, c] - base) / scale), -half, half - 1)
        inverse = np.linalg.inv(h[np.ix_(left, left)])
        error = w[:, c] - (codes[:, c] * scale + base)
        w[:, left] -= np.outer(error, inverse[0] / inverse[0, 0])
        left = left[1:]
    return codes


@pytest.mark.parametrize("activation_order", [False, True])
@pytest.mark.parametrize("group", [0, 8])
def test_gptq_is_obq(group, activation_order):
    """In more columns than one block has."""
    weight, _, hessian = layer(4, 160)
    grid = Coded.of(weight, 4, Scheme(weight_width=4, group=group), columns(160))
    order = np.argsort(-np.diag(hessian), kind="stable") if activation_order else range(160)
    found = gptq(weight, hessian, grid, 4, 0.02, activation_order)
    np.testing.assert_array_equal(found.codes, obq(weight, hessian, grid, 4, 0.02, order))
    np.testing.assert_array_equal(found.scales, grid.scales)


def test_gptq_loses_less_and_keeps_what_is_on_the_grid():
    weight, x, hessian = layer(16)
    grid = Coded.of(weight, 3, Scheme(weight_width=3), columns(32))
    nearest, better = (
        np.square((c.float32() - weight) @ x.T).sum()
        for c in (grid, gptq(weight, hessian, grid, 3))
    )
    assert better < 0.7 * nearest
    exact = grid.float32()
    np.testing.assert_array_equal(gptq(exact, hessian, grid, 3).codes, grid.codes)


def test_gptq_of_inputs_that_are_always_zero():
    weight, x, _ = layer()
    x[:, 5] = 0
    grid = Coded.of(weight, 4, Scheme(weight_width=4), columns(32))
    assert gptq(weight, x.T @ x, grid, 4).codes[:, 5].tolist() == grid.codes[:, 5].tolist()
    np.testing.assert_array_equal(gptq(weight, 0 * x.T @ x, grid, 4).codes, grid.codes)


def test_clips_are_those_of_a_plain_search():
    """Each group of each row by itself, its inputs alone."""
    weight, x, hessian = layer(5)
    weight[2, 3] = 9
    scheme = Scheme(lanes=2, weight_width=3, group=8)
    found = clipped(weight, hessian, 3, scheme, columns(32), "w").float32()
    for row in range(5):
        for group in range(4):
            part = slice(8 * group, 8 * group + 8)
            w, inputs = weight[row : row + 1, part], x[:, part]
            losses = []
            for ratio in (1, *CLIPS):
                narrow = np.clip(w, ratio * w.min(), ratio * w.max())
                rounded = Coded.of(narrow, 3, scheme, columns(8)).float32()
                losses.append(np.square((rounded - w) @ inputs.T).sum())
            ours = np.square((found[row, part] - w) @ inputs.T).sum()
            assert ours <= 1.3 * min(losses) + 5e-3 * losses[0]
    row = clipped(weight, hessian, 3, Scheme(weight_width=3), columns(32), "w")
    assert row.offsets is None
    assert row.scales[2, 0] < 3  # 9 / 3 without clips


def test_awq_is_a_plain_search():
    weight, x, hessian = layer()
    tensors = {"gain": np.ones(32, np.float32), "a": weight, "b": weight[::-1] * 2}
    scheme, mean = Scheme(weight_width=3), np.abs(x).mean(axis=0)
    found = awq_factors(tensors, SITE, hessian, mean, 3, scheme, columns(32))
    losses = []
    for power in POWERS:
        s = mean**power
        s = s / np.sqrt(s.max() * s.min())
        loss = 0
        for name in "ab":
            step = np.abs(tensors[name] * s).max(axis=1, keepdims=True) / 3
            rounded = np.round(tensors[name] * s / step) * step / s
            loss += np.square((rounded - tensors[name]) @ x.T).sum()
        losses.append((loss, s))
    loss, s = min(losses, key=lambda pair: pair[0])
    np.testing.assert_allclose(found[0], s, rtol=1e-6)
    assert loss < losses[0][0]


def test_awq_leaves_what_is_on_the_grid():
    weight, x, hessian = layer()
    scheme = Scheme(weight_width=4)
    exact = Coded.of(weight, 4, scheme, columns(32)).float32()
    tensors = {"gain": np.ones(32, np.float32), "a": exact, "b": exact}
    mean = np.abs(x).mean(axis=0)
    np.testing.assert_array_equal(
        awq_factors(tensors, SITE, hessian, mean, 4, scheme, columns(32)), 1
    )


def test_smoothquant():
    weight, x, _ = layer()
    tensors = {"a": weight, "b": 3 * weight}
    found = smooth_factors(tensors, SITE, np.abs(x).max(axis=0), 0.6)
    for c in range(32):
        expected = np.abs(x[:, c]).max() ** 0.6 / (3 * np.abs(weight[:, c]).max()) ** 0.4
        assert found[0, c] == pytest.approx(expected)
    heads = Site("a", ("wv",), ("a",), (2, 2, 8))
    found = smooth_factors(tensors, heads, np.abs(x).max(axis=0), 1.0)
    largest = np.abs(x).max(axis=0).reshape(2, 2, 8).max(axis=1)
    np.testing.assert_allclose(found, largest)
