"""Recipes: names, files, what they do to a whole model, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.evaluate import text_windows
from celosia.reference.model import random_model
from celosia.reference.operations import Linear
from celosia.reference.quantization.scheme import Scheme
from celosia.reference.recipes.apply import apply_recipe
from celosia.reference.recipes.inputs import Windows
from celosia.reference.recipes.recipe import (
    RECIPES,
    Recipe,
    RecipeError,
    best_recipe,
    load_recipe,
)
from celosia.reference.recipes.text import split_windows

SCHEME = Scheme(lanes=2, weight_width=4, group=4)
TEXTS = [[1, 5, 9, 3, 7, 2, 30, 11, 4, 8, 15, 22, 6], [1, 20, 13, 32, 8, 8, 5]]


def test_names_and_files(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('rotate = true\nclip = true\nrounding = "gptq"\ndamping = 0.05\n')
    assert load_recipe(file) == Recipe(rotate=True, clip=True, rounding="gptq", damping=0.05)
    for name in RECIPES:
        assert load_recipe(name) is RECIPES[name]
    assert [name for name, recipe in RECIPES.items() if not recipe.calibrated] == ["rtn"]
    assert best_recipe(8) == "rtn"
    assert best_recipe(4) == "gptq"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group = 3", "unknown field 'group'; known: rotate, learn, smooth, awq, "),
        ("rotate = 1", "rotate must be true or false, not 1"),
        ("tokens = true", "tokens must be a whole number, not True"),
        ("smooth = 1.5", "smooth must be from 0 to 1, not 1.5"),
        ("damping = 0", "damping must be more than 0 and at most 1, not 0"),
        ("damping = nan", "damping must be more than 0 and at most 1, not nan"),
        ('rounding = "up"', "rounding must be nearest or gptq, not 'up'"),
        ('order = "row"', "order must be activation or column, not 'row'"),
        ("tokens = 0", "tokens must be 1 or more, not 0"),
        ("seed = -1", "seed must be 0 or more, not -1"),
        ("rotate = true\nlearn = -1", "learn must be 0 or more, not -1"),
        ("learn = 3", "learn must be 0 without rotate, not 3"),
        ("a = [", "not valid TOML"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


def test_an_unknown_recipe():
    with pytest.raises(
        RecipeError, match=r"'best' is no recipe .rtn, smoothquant, awq, gptq, quar"
    ):
        load_recipe("best")


def test_inputs_are_those_of_the_float_model(tiny_config):
    model = random_model(tiny_config())
    seen = {}

    def observe(name, layer, array):
        seen.setdefault((name, layer), []).append(array)

    for tokens in TEXTS:
        float32.forward(model, tokens, observe=observe)
    stream = Windows(model, TEXTS)
    for layer, operations in enumerate(model.description.layers):
        inputs = stream.inputs(operations, layer)
        assert inputs.keys() == {op.weight for op in operations if isinstance(op, Linear)}
        for weight, vector in (("w_down", "f"), ("wo", "a")):
            x = np.concatenate(seen[vector, layer]).astype(np.float64)
            np.testing.assert_allclose(inputs[weight].hessian, x.T @ x, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(inputs[weight].largest, np.abs(x).max(axis=0), rtol=1e-6)
            np.testing.assert_allclose(inputs[weight].mean, np.abs(x).mean(axis=0), rtol=1e-6)
        assert inputs["wq"] is inputs["wk"]
        assert inputs["wq"] is not inputs["w_up"]
        stream.advance(operations, layer)


def difference(model, coded):
    return sum(
        np.square(float32.forward(model, tokens) - float32.forward(coded, tokens)).sum()
        for tokens in TEXTS
    )


@pytest.mark.parametrize("tied", [False, True])
def test_what_a_recipe_makes(tiny_config, tied):
    """Every matrix has codes; its tensors are what these stand for; GPTQ loses less than rtn."""
    model = random_model(tiny_config(tied=tied), seed=4)
    lost = {}
    for name, recipe in RECIPES.items():
        if recipe.learn:
            continue  # with PyTorch: tests/test_spin.py
        coded = apply_recipe(model, SCHEME, recipe, TEXTS)
        tables = {"embedding"} if coded.config.tied else {"embedding", "head"}
        names = {(n, op.weight) for n in range(2) for op in coded.description.find(Linear)[:7]}
        assert coded.codes.keys() == names | {(None, table) for table in tables}
        for (layer, weight), each in coded.codes.items():
            tensors = coded.tensors if layer is None else coded.layers[layer]
            np.testing.assert_array_equal(tensors[weight], each.float32())
        lost[name] = difference(model, coded)
    assert lost["gptq"] < lost["rtn"]
    assert lost["quarot"] < 2 * lost["rtn"]


def test_what_is_on_the_grid_stays(tiny_config):
    """No recipe that leaves the weights where they are makes them worse."""
    model = random_model(tiny_config(), seed=4)
    exact = replace(apply_recipe(model, SCHEME, Recipe()), codes={})
    for recipe in (RECIPES["gptq"], RECIPES["awq"], Recipe(rounding="gptq", clip=True)):
        coded = apply_recipe(exact, SCHEME, recipe, TEXTS)
        for layer, other in zip(coded.layers, exact.layers, strict=True):
            for name, array in layer.items():
                np.testing.assert_allclose(array, other[name], rtol=0.1, atol=0.02, err_msg=name)


def test_a_call_goes_on_where_it_was(tiny_config):
    model, kept, made = random_model(tiny_config()), {}, []

    def keep(name, make):
        if name not in kept:
            if len(made) == 2:
                raise KeyboardInterrupt
            made.append(name)
            kept[name] = make()
        return kept[name]

    steps = []
    args = model, SCHEME, RECIPES["gptq"], TEXTS
    with pytest.raises(KeyboardInterrupt):
        apply_recipe(*args, keep)
    made.clear()
    coded = apply_recipe(*args, keep, lambda done, total: steps.append((done, total)))
    assert made == ["end"]
    assert steps == [(0, 3), (1, 3), (2, 3)]
    whole = apply_recipe(*args)
    for key, each in whole.codes.items():
        np.testing.assert_array_equal(each.codes, coded.codes[key].codes)


def test_what_does_not_fit(tiny_config):
    model = random_model(tiny_config())
    with pytest.raises(RecipeError, match=r"layers.0.wq: its 12 columns have no group of 16"):
        apply_recipe(model, replace(SCHEME, group=16), Recipe())
    after = random_model(tiny_config(family="gemma2", options={"windows": (None, None)}))
    with pytest.raises(RecipeError, match="Add of layer 0: the residual stream cannot be rotated"):
        apply_recipe(after, SCHEME, RECIPES["quarot"], TEXTS)


def test_windows_of_a_text(stories260k_model):
    """The last ones are measured; the first are calibrated by, as many as the recipe takes."""
    text = "<|endoftext|>".join(["Once upon a time there was a little girl. " * 8] * 40)
    recipe = replace(RECIPES["gptq"], tokens=300)
    calibration, held = split_windows(stories260k_model, text, recipe, 100)
    tokens = stories260k_model.tokenizer.encode(text.split("<|endoftext|>")[0].strip(), bos=False)
    (window,) = text_windows([tokens], 512, stories260k_model.tokenizer.bos)
    assert calibration[0] == held[-1] == window
    assert sum(len(fed) for fed, _ in calibration[:-1]) < 300
    assert sum(len(fed) for fed, _ in held[:-1]) < 100
    with pytest.raises(RecipeError, match="too short: it gives 5 tokens to calibrate by and 0 to"):
        split_windows(stories260k_model, "Once upon a time.", recipe, 100)


def test_a_model_writes_its_own_text(tiny_config):
    model = random_model(tiny_config())
    calibration, held = split_windows(model, None, RECIPES["gptq"], 50)
    assert sum(len(fed) for fed, _ in calibration) >= 1900
    assert calibration[0][0][0] == 1
    assert split_windows(model, None, RECIPES["gptq"], 50)[1] == held
