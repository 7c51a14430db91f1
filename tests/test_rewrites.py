"""Rewrites change no logits but for rounding, and do what they are for."""

from dataclasses import replace

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.model import random_model
from celosia.reference.operations import Add, Copy, Embed, Linear, Norm
from celosia.reference.rewrites import rewrites
from families.cases import CASES, relative_difference

#: Cases of every kind of norm, factor and order.
NAMES = (
    *("llama-biases", "granite-factors", "granite-tied", "granite-biases", "gemma-tied"),
    *("gemma2-untied", "gemma3_text-types", "olmo2-tied", "gpt2-tied", "gpt2-scales"),
    *("gpt_neo-local", "gpt_neox-parallel", "gpt_neox-serial", "gpt_neox-new", "phi-fraction"),
    *("phi-qk", "phi-tied", "opt-before", "opt-after", "opt-plain", "bitnet-inverse"),
    *("mixtral-two", "qwen3_moe-sparse", "olmoe-clip", "hgrn_bit-bounds"),
)


@pytest.fixture
def read(tmp_path):
    """A function that reads the case of a name, and its tokens."""

    def read_case(name):
        (case,) = (case for case in CASES if case.name == name)
        return load(case.write(tmp_path / name)), case.tokens

    return read_case


def test_the_names_are_cases():
    assert {case.name for case in CASES} >= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_logits_stay(read, name):
    """After each rewrite alone, and after all in the machine's order."""
    model, tokens = read(name)
    before = float32.forward(model, tokens)
    for rewrite in (*rewrites.REWRITES, rewrites.machine_form):
        after = float32.forward(rewrite(model), tokens)
        assert relative_difference(after, before) <= 1e-5, rewrite.__name__


def test_tensors_of_the_given_model_stay(read):
    model, _ = read("phi-tied")
    before = [dict(layer) for layer in model.layers], dict(model.tensors)
    copies = [{n: a.copy() for n, a in each.items()} for each in (*before[0], before[1])]
    rewrites.machine_form(model)
    for each, copied in zip((*model.layers, model.tensors), copies, strict=True):
        assert each.keys() == copied.keys()
        for name, array in each.items():
            np.testing.assert_array_equal(array, copied[name])


@pytest.mark.parametrize("rewrite", rewrites.REWRITES[:-1])
def test_llama_stays_as_it_is(tiny_config, rewrite):
    model = random_model(tiny_config())
    assert rewrite(model) is model


@pytest.mark.parametrize("name", ["gpt2-tied", "gpt_neox-parallel", "phi-qk", "opt-before"])
def test_nothing_is_centred_any_more(read, name):
    model, _ = read(name)
    assert any(op.centred for op in model.description.find(Norm))
    form = rewrites.machine_form(model)
    assert not any(op.centred for op in form.description.find(Norm))
    assert not any(op.bias and op.input == "x" for op in form.description.find(Norm))


def test_norms_of_the_stream_itself_stay(read):
    """Behind them nothing has the mean 0."""
    model, _ = read("opt-after")
    form = rewrites.machine_form(model)
    assert [op for op in form.description.find(Norm) if not op.centred] == []
    assert form.description.find(Copy)


def test_a_tied_head_gets_its_own_table(read):
    model, _ = read("gpt2-tied")
    form = rewrites.centre_writers(model)
    assert not form.config.tied
    np.testing.assert_array_equal(form.tensors["head"], model.tensors["embedding"])
    np.testing.assert_allclose(form.tensors["embedding"].mean(axis=1), 0, atol=1e-6)


def test_norms_beside_each_other_become_one(read):
    model, _ = read("gpt_neox-parallel")
    form = rewrites.machine_form(model)
    of_stream = [op for op in form.description.layers[0] if isinstance(op, Norm)]
    assert len(of_stream) == 1
    assert of_stream[0].gain is None
    serial, _ = read("gpt_neox-serial")
    assert (
        rewrites.fold_gains(rewrites.fold_norm_biases(serial)).description.layers[0]
        == (rewrites.fold_norm_biases(serial).description.layers[0])
    )


@pytest.mark.parametrize(
    "name", ["granite-factors", "granite-tied", "granite-biases", "gemma-tied"]
)
def test_no_factor_is_left(read, name):
    form = rewrites.fold_factors(read(name)[0])
    assert {op.factor for op in form.description.find((Add, Embed, Linear))} == {1.0}


def test_factors_of_additions(read):
    """None of the families has them."""
    model, tokens = read("gemma2-untied")
    layers = tuple(
        tuple(replace(op, factor=0.5) if isinstance(op, Add) else op for op in layer)
        for layer in model.description.layers
    )
    model = replace(model, description=replace(model.description, layers=layers))
    form = rewrites.fold_factors(model)
    assert {op.factor for op in form.description.find(Add)} == {1.0}
    before, after = (float32.forward(each, tokens) for each in (model, form))
    assert relative_difference(after, before) <= 1e-5
