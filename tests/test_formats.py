"""Formats that follow the calibration: nothing that a model computes is lost without a count."""

import dataclasses

import numpy as np
import pytest
from celosia.reference import float32, integer
from celosia.reference.checkpoint import load
from celosia.reference.model import Model, ModelConfig, random_model
from celosia.reference.operations.embed import IntegerEmbed
from celosia.reference.operations.linear import IntegerLinear
from celosia.reference.quantization.calibration import calibrate
from celosia.reference.quantization.matrix import recoded, rounded, scaled
from celosia.reference.quantization.quantize import Scheme, quantize
from celosia.reference.units.gate import gate as gated
from celosia.reference.units.scale import limited, scale
from celosia.reference.units.softmax import empty, softmax_block
from integer_operations import only

UNTIED = ModelConfig(
    dim=24, hidden_dim=36, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, vocab_size=41,
    seq_len=32, tied=False,
)  # fmt: skip


def agreement(model, quantized, n=48):
    """The share of a greedy text's tokens that both models choose, and what saturated."""
    tokens = [1, *float32.generate(model, [1], n)]
    cache = integer.IntegerCache.empty(quantized)
    logits = integer.forward(quantized, tokens, cache)
    exact = float32.forward(model, tokens)
    return np.mean(logits.argmax(axis=-1) == exact.argmax(axis=-1)), cache.saturated


@pytest.mark.parametrize("factor", [1, 300, 30000])
def test_a_large_head_changes_no_greedy_token(factor):
    tied = load("demo")
    tensors = tied.tensors | {"head": tied.tensors["embedding"] * np.float32(factor)}
    config = dataclasses.replace(tied.config, tied=False)
    model = Model(config, tensors, tied.layers, tied.tokenizer)
    quantized = quantize(model)
    assert (quantized.logit_fraction == 12) == (factor == 1)
    share, saturated = agreement(model, quantized)
    assert share > 0.93
    assert saturated["scaled"] == 0


@pytest.mark.parametrize(
    ("names", "factor", "changed"),
    [(("wq", "wk"), 6, "score"), (("w_gate",), 300, "gate_fraction")],
)
def test_large_scores_and_gates_stay_near_float(names, factor, changed):
    model = random_model(UNTIED, seed=1)
    before = quantize(model)
    for layer in model.layers:
        for name in names:
            layer[name] = layer[name] * np.float32(factor)
    quantized = quantize(model)
    if changed == "score":
        assert (before.score_width, before.score_fraction) == (16, 8)
        assert quantized.score_width - quantized.score_fraction > 8
    else:
        assert quantized.gate_fraction < before.gate_fraction == 12
    tokens = np.random.default_rng(0).integers(0, 41, 32)
    cache = integer.IntegerCache.empty(quantized)
    logits = integer.forward(quantized, tokens, cache) * 2.0**-quantized.logit_fraction
    exact = float32.forward(model, tokens)
    assert np.corrcoef(logits.reshape(-1), exact.reshape(-1))[0, 1] > 0.98
    assert cache.saturated["scores"] == cache.saturated["gates"] == cache.saturated["scaled"] == 0


@pytest.mark.parametrize("whole", [8, 11, 16])
def test_a_constant_added_to_all_scores_changes_nothing(whole):
    """Powers stay, exponents move, wherever the scores lie in their format."""
    rng = np.random.default_rng(whole)
    scores = rng.integers(-2000, 2000, (50, 8))
    valid = np.ones_like(scores, bool)
    power, exponent = softmax_block(scores, valid, whole)
    edge = (1 << (whole - 1)) - 8
    for constant in (-edge, -1, 1, 5, edge):
        moved, exponents = softmax_block(scores + (constant << 8), valid, whole)
        np.testing.assert_array_equal(moved, power)
        np.testing.assert_array_equal(exponents, exponent + constant)
    power, exponent = softmax_block(scores, ~valid, whole)
    assert not power.any()
    assert set(exponent.tolist()) == {empty(whole)}


def test_keys_with_a_common_part():
    """A constant in the residual stream that all keys share: each score gets the same addend."""
    config = dataclasses.replace(UNTIED, n_layers=1, rope_theta=1e300, head_dim=8)
    model = random_model(config, seed=4)
    model.tensors["embedding"][:, 0] = 2.0
    layer = model.layers[0]
    layer["wq"][:, 0] = layer["wk"][:, 0] = 0
    layer["wq"][2::8, 0] = 12  # dimensions of a pair that hardly turns
    layer["wk"][2::8, 0] = 12
    quantized = quantize(model)
    assert quantized.score_width - quantized.score_fraction > 8
    tokens = np.random.default_rng(0).integers(0, 41, 32)
    cache = integer.IntegerCache.empty(quantized)
    logits = integer.forward(quantized, tokens, cache) * 2.0**-quantized.logit_fraction
    exact = float32.forward(model, tokens)
    assert cache.saturated["scores"] == 0
    assert np.corrcoef(logits.reshape(-1), exact.reshape(-1))[0, 1] > 0.98


@pytest.mark.parametrize("scheme", [Scheme(), Scheme(group=8), Scheme(weight_width=4)])
def test_rows_of_any_spread_keep_their_precision(scheme):
    """Codes lose a bit for each that a row's scale is below the least mantissa, and no others."""
    rng = np.random.default_rng(0)
    spread = np.concatenate([2.0 ** -np.arange(0, 20), [0.0]])
    weight = (rng.normal(size=(21, 32)) * spread[:, None]).astype(np.float32)
    columns = np.arange(32), 32
    codes = rounded(weight, scheme.weight_width, scheme, columns)
    alone = [
        scaled(rounded(weight[n : n + 1], scheme.weight_width, scheme, columns), 1.0)
        for n in range(20)
    ]
    op = scaled(recoded(codes, 1.0), 1.0)
    found = op.integers() * op.scale[:, None] * 2.0**-op.shift
    for n, own in enumerate(alone):
        best = np.abs(own.integers() * own.scale[0] * 2.0**-own.shift - weight[n]).max()
        allowed = 3.3 * best * 2.0 ** max(0, n - 15)  # codes are rounded twice
        assert np.abs(found[n] - weight[n]).max() <= allowed + 2.0**-14 * np.abs(weight[n]).max()
    assert not found[20].any()


def test_a_zero_row_costs_the_others_nothing():
    rng = np.random.default_rng(0)
    weight = (rng.normal(size=(9, 32)) * 1e-3).astype(np.float32)
    with_zeros = np.concatenate([weight, np.zeros((2, 32), np.float32)])
    for scheme in (Scheme(), Scheme(group=8), Scheme(group=8, weight_width=4)):
        ops = []
        for w in (weight, with_zeros):
            codes = rounded(w, scheme.weight_width, scheme, (np.arange(32), 32))
            ops.append(scaled(recoded(codes, 1.0), 1.0))
        assert ops[0].shift == ops[1].shift
        np.testing.assert_array_equal(ops[0].scale, ops[1].scale[:9])
        assert ops[1].scale[9:].tolist() == [0, 0]


def test_a_tied_embedding_has_the_heads_codes():
    """Also where small rows have other codes than they would alone."""
    model = random_model(dataclasses.replace(UNTIED, tied=True), seed=0)
    model.tensors["embedding"] *= 2.0 ** -np.linspace(0, 19, 41, dtype=np.float32)[:, None]
    for scheme in (Scheme(), Scheme(group=8, weight_width=4)):
        quantized = quantize(model, scheme)
        table = only(quantized.begin, IntegerEmbed).table
        head, embedding = only(quantized.end, IntegerLinear).matrix.integers(), table.integers()
        np.testing.assert_array_equal(head, embedding)
        assert (embedding.any(axis=1) <= (table.scale > 0)).all()


def test_limited_is_where_scaling_limits():
    """Where it is false the result is the exact product; where it is true it is another."""
    rng = np.random.default_rng(0)
    acc = rng.integers(-1 << 50, 1 << 50, 5000) >> rng.integers(0, 50, 5000)
    for shift in (3, 4, 11, 20, 40, 60):
        exact = np.floor(acc * 2.0 ** (19 - shift)) * 65535 / 2.0**19
        wrong = np.abs(scale(acc, 65535, shift) - exact) > 1
        assert not (wrong & ~limited(acc, shift)).any()
        assert (limited(acc, shift) == (np.abs(acc + 0.5) > 2.0 ** (7 + shift))).all()


@pytest.mark.parametrize("fraction", [0, 5, 12])
def test_swiglu_of_any_fraction_is_near_the_exact_one(fraction):
    rng = np.random.default_rng(fraction)
    gate = rng.normal(0, 3, 2000)
    up = rng.integers(-1 << 16, 1 << 16, 2000)
    rounded_gate = np.round(gate * 2.0**fraction) * 2.0**-fraction
    y = gated(np.round(gate * 2.0**fraction).astype(np.int64), up, fraction, 30, fraction=fraction)
    exact = rounded_gate / (1 + np.exp(-rounded_gate)) * up
    assert np.abs(y - exact).max() < 2.0**-fraction * (1 << 16) * 0.51 + 20


def test_norms_of_wide_vectors_on_their_way():
    """Before the output and the down projection, as BitNet has them: gains times a large root."""
    sizes = {"dim": 512, "hidden_dim": 768, "n_heads": 8, "n_kv_heads": 4, "head_dim": 64}
    model = random_model(
        ModelConfig(**sizes, n_layers=1, vocab_size=64, seq_len=16, family="bitnet"), seed=1
    )
    tokens = [1, 5, 9, 33, 2, 7]
    quantized = quantize(model)
    logits = integer.forward(quantized, tokens, integer.IntegerCache.empty(quantized))
    exact = float32.forward(model, tokens)
    error = logits * 2.0**-quantized.logit_fraction - exact
    assert np.std(error) < 0.2 * np.std(exact)  # of random weights; a Llama's is 0.1


def test_formats_that_are_never_found_end(monkeypatch):
    monkeypatch.setattr("celosia.reference.quantization.quantize.excess", lambda *_, **__: 1)
    with pytest.raises(ValueError, match="residual stream is in reach of no format"):
        quantize(random_model(UNTIED))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_width": 3}, "activation_width must be 8, 6, 5 or 4, not 3"),
        ({"rotate_down": 1024}, r"rotate_down must be 0 or a power of .* \(512\), not 1024"),
        ({"rotate_keys": 1}, r"rotate_keys must be 0 or a power of .* \(512\), not 1"),
        ({"key_width": 5}, "key_width must be 8, 6 or 4, not 5"),
        ({"value_width": 2, "value_steps": "token"}, "value_width must be 8, 6 or 4, not 2"),
        ({"value_width": 4}, "value_steps must be token with a value_width below 8, not 'channel'"),
        ({"value_steps": "row"}, "value_steps must be channel or token, not 'row'"),
        ({"offset_width": 9}, "offset_width must be 12 or 8, not 9"),
        ({"key_mean": "gone"}, "key_mean must be kept or removed, not 'gone'"),
    ],
)
def test_no_such_widths(changes, message):
    with pytest.raises(ValueError, match=message):
        Scheme(**changes)


def test_keys_without_their_mean_lose_less():
    """What 4 bits lose, of keys that have a large mean."""
    model = random_model(ModelConfig(16, 24, 1, 2, 2, 8, 37, 24), seed=3)
    model.tensors["embedding"][:, 0] = 4
    model.layers[0]["wk"].reshape(2, 8, 16)[:, :, 0] = 4 * (
        np.arange(8) > 3
    )  # of pairs that turn slowly
    tokens = np.random.default_rng(0).integers(0, 37, 24).tolist()
    exact = float32.forward(model, tokens)
    errors = []
    for mean in ("kept", "removed"):
        quantized = Scheme(key_width=4, key_mean=mean).quantize(model, calibrate(model, tokens))
        logits = quantized.logits(tokens)[0] * 2.0**-quantized.logit_fraction
        errors.append(np.square(logits - exact).mean())
    assert errors[1] < errors[0]
