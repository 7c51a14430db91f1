"""The compact machine's integer model: its arithmetic, its formats, what it loses."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.checkpoint import load
from celosia.reference.compact import arithmetic as compact
from celosia.reference.compact import tables as compact_tables
from celosia.reference.compact.form import check_form
from celosia.reference.compact.matrix import CONSTANTS, fit
from celosia.reference.compact.quantize import quantize_compact
from celosia.reference.model import ModelConfig, random_model
from families.cases import CASES

SMALL = ModelConfig(
    dim=24, hidden_dim=22, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, vocab_size=37,
    seq_len=24, tied=False,
)  # fmt: skip


def test_compute_is_exact():
    rng = np.random.default_rng(0)
    for product, shift, add in zip(
        rng.integers(-1 << 39, 1 << 39, 500).tolist(),
        rng.integers(0, 32, 500).tolist(),
        rng.integers(-1 << 23, 1 << 23, 500).tolist(),
        strict=True,
    ):
        rounded = (Fraction(product, 1 << shift) + Fraction(1, 2)).__floor__()
        rounded = min(max(rounded, -1 << 23), 1 << 23) + add
        for width in (24, 16, 8):
            expected = min(max(rounded, -1 << width - 1), (1 << width - 1) - 1)
            assert compact.compute(product, shift, width, add) == expected


def test_tables():
    i = np.arange(255)
    assert np.abs(compact_tables.exp_table()[:-1] - 127 * 2.0 ** (-i / 32)).max() <= 0.5
    assert compact_tables.exp_table()[-1] == 0
    assert np.abs(compact_tables.root_table()[2:] * np.sqrt(i[1:] + 1) / 32768 - 1).max() < 2.5e-4
    assert compact_tables.root_table()[0] == 2048
    sigmoid = 256 / (1 + np.exp(8 - np.arange(256) / 16))
    assert np.abs(compact_tables.gate_table("silu") - np.minimum(sigmoid, 255)).max() <= 0.5
    assert compact_tables.scale_values().tolist()[::4] == [16, 32, 64, 128]


def test_rotations_stay_near_the_circle():
    angles = 10000.0 ** (-np.arange(4) / 4)
    turns = np.round(np.stack([np.cos(angles), np.sin(angles)], axis=-1) * 32768).astype(np.int64)
    cosine, sine, minus = compact_tables.rotations(np.minimum(turns, 32767), 256)
    exact = np.outer(np.arange(256), angles)
    for found, wanted in ((cosine, np.cos(exact)), (sine, np.sin(exact)), (minus, -np.sin(exact))):
        assert np.abs(found / 2.0**14 - wanted).max() < 0.012
    assert cosine[0].tolist() == pytest.approx([1 << 14] * 4, abs=2)


def test_rows_take_the_best_scale():
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(9, 20)).astype(np.float32) * 2.0 ** rng.uniform(-3, 0, (9, 1))
    op = fit(weight, 100.0)
    assert op.codes.min() >= -8
    assert op.codes.max() <= 7
    values = compact_tables.scale_values() * 2.0**-op.shift
    wanted = weight.astype(np.float64) * 100

    def error(value):
        rounded = np.clip(np.round(wanted / value), -8, 7) * value
        return ((rounded - wanted) ** 2).sum(axis=1)

    errors = np.array([error(value) for value in values])
    assert errors.argmin(axis=0).tolist() == op.scale.tolist()


def test_close_to_float():
    model = random_model(SMALL, seed=2)
    quantized = quantize_compact(model, 24)
    tokens = np.random.default_rng(3).integers(0, 37, 24)
    logits = compact.forward(quantized, tokens) * 2.0**-12
    exact = float32.forward(model, tokens)
    assert np.corrcoef(logits.reshape(-1), exact.reshape(-1))[0, 1] > 0.95


def test_large_gates_and_logits_have_other_formats():
    model = random_model(SMALL, seed=8)
    for layer in model.layers:
        layer["w_gate"] *= np.float32(10)
    model.tensors["head"] *= np.float32(3000)
    quantized = quantize_compact(model, 24)
    assert 4 <= quantized.gate_fraction < 11
    assert quantized.logit_fraction < 12
    tokens = np.random.default_rng(3).integers(0, 37, 24)
    logits = compact.forward(quantized, tokens) * 2.0**-quantized.logit_fraction
    exact = float32.forward(model, tokens)
    assert np.corrcoef(logits.reshape(-1), exact.reshape(-1))[0, 1] > 0.95
    for name, factor in (("w_gate", 1e6), ("head", 1e9)):
        model = random_model(SMALL, seed=2)
        owner = model.tensors if name == "head" else model.layers[1]
        owner[name] *= np.float32(factor)
        with pytest.raises(ValueError, match=r"(gates|logits) reach .*, which no format holds"):
            quantize_compact(model, 24)


def test_the_window_forgets():
    quantized = quantize_compact(random_model(SMALL, seed=2), 4)
    # Two layers of four positions see seven tokens.
    tokens = np.random.default_rng(4).integers(0, 37, 12)
    other = tokens.copy()
    other[:5] = (other[:5] + 1) % 37
    a, b = (compact.forward(quantized, t) for t in (tokens, other))
    assert np.array_equal(a[11], b[11])
    assert not np.array_equal(a[10], b[10])
    assert np.array_equal(compact.forward(quantized, tokens, all_logits=False), a[-1:])


def test_errors():
    model = random_model(SMALL, seed=2)
    for window in (0, 6, 2052):
        with pytest.raises(ValueError, match=f"window must be a multiple of 4 .*, not {window}"):
            quantize_compact(model, window)
    with pytest.raises(ValueError, match="weight_width must be 4 or 8, not 6"):
        quantize_compact(model, 8, weight_width=6)
    model.layers[0]["wo"] *= np.float32(1e9)
    with pytest.raises(ValueError, match=r"shift must be from 0 to \d+, not"):
        quantize_compact(model, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gemma2-caps", "no attention with cap = 2.0"),
        ("gemma2-uncapped", "no add"),
        ("mixtral-two", "no experts"),
        ("bitnet-packed", "no gate with activation = 'relu2'"),
        ("olmo2-whole", "no copy"),
        ("phi-qk", "no norm with bias = 'q_norm_bias'"),
        ("smollm3-biases", "layer 1's rotate has other frequencies than layer 0's"),
        ("gpt2-hub", "head_dim must be a multiple of 4, not 5"),
        ("mistral-window", "window must be at most the model's own, 7, not 8"),
    ],
)
def test_refuses_what_it_does_not_compute(name, message, tmp_path):
    (case,) = (case for case in CASES if case.name == name)
    with pytest.raises(ValueError, match=message):
        quantize_compact(load(case.write(tmp_path / name)), 8)


@pytest.mark.parametrize(
    ("part", "place", "fields", "message"),
    [
        ("begin", 0, {"factor": 2.0}, "no embed with factor = 2.0 and tied weights"),
        ("end", 1, {"bias": "b"}, "no linear with bias = 'b' and tied weights"),
        ("layer", 0, {"out": "x"}, "no norm with out = 'x'"),
        ("layer", 0, {"input": "y"}, "no norm with input = 'y'"),
        ("layer", 0, {"eps": 1.0}, "layer 1's norm has other eps than layer 0's"),
        ("layer", 1, {"input": "x"}, "no linear with input = 'x'"),
        ("layer", 4, {"frequencies": (1.0,) * 4}, "layer 1's rotate has other frequencies"),
    ],
)
def test_refuses_other_fields(part, place, fields, message):
    """Without the rewrites, which fold what they can."""
    d = random_model(replace(SMALL, tied=True), seed=1).description
    parts = {"begin": [*d.begin], "layer": [*d.layers[0]], "end": [*d.end]}
    parts[part][place] = replace(parts[part][place], **fields)
    begin, layer, end = (tuple(operations) for operations in parts.values())
    with pytest.raises(ValueError, match=message):
        check_form(replace(d, begin=begin, layers=(layer, d.layers[1]), end=end), 8)


def test_refuses_other_operations():
    d = random_model(replace(SMALL, tied=True), seed=1).description
    with pytest.raises(ValueError, match="layer 1 has other operations than layer 0"):
        check_form(replace(d, layers=(d.layers[0], d.layers[1][:-1])), 8)
    with pytest.raises(ValueError, match="no embed behind the embedding"):
        check_form(replace(d, begin=d.begin * 2), 8)
    turned = [
        replace(op, frequencies=(1.0,) * 4) if n == 4 else op for n, op in enumerate(d.layers[0])
    ]
    with pytest.raises(ValueError, match="no rotates with different frequencies"):
        check_form(replace(d, layers=(tuple(turned),)), 8)


@pytest.mark.parametrize(
    "name", ["gpt2-scales", "gpt_neox-parallel", "opt-untied", "qwen3-tied", "gemma-tied"]
)
@pytest.mark.parametrize(("width", "close"), [(4, 0.95), (8, 0.99)])
def test_other_families_are_close_to_float(name, width, close, tmp_path):
    (case,) = (case for case in CASES if case.name == name)
    model = load(case.write(tmp_path / name))
    quantized = quantize_compact(model, 40, weight_width=width)
    logits = compact.forward(quantized, case.tokens) * 2.0**-quantized.logit_fraction
    exact = float32.forward(model, case.tokens)
    assert np.corrcoef(logits.reshape(-1), exact.reshape(-1))[0, 1] > close


def test_biases_are_columns():
    rng = np.random.default_rng(5)
    weight, bias = rng.normal(size=(30, 8)), 300 * rng.normal(size=30)
    op = fit(weight, 1.0, bias=bias)
    found = op.codes[:, 8:] @ CONSTANTS * compact_tables.scale_values()[op.scale] * 2.0**-op.shift
    assert np.abs(found - bias).max() <= np.abs(bias).max() / 500
    plain = fit(weight, 1.0)
    assert plain.codes.shape == (30, 8)
    lone = fit(np.zeros((30, 0)), 1.0, bias=bias * 1e-6, most=15)
    assert lone.shift == 15
