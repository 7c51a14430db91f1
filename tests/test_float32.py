"""The float32 forward pass, against llama2.c's text and against a plain loop in float64."""

import cmath
import json
import math

import numpy as np
import pytest
from celosia.reference import float32
from celosia.reference.model import RopeScaling, random_model


def slow_forward(model, tokens):
    """The logits of the last token, one head and one position at a time, in float64."""
    c = model.config
    cached = [([], []) for _ in model.layers]
    for position, token in enumerate(tokens):
        x = model.tensors["embedding"][token].astype(float)
        for layer, (keys, values) in zip(model.layers, cached, strict=True):
            h = slow_norm(x, layer["attention_norm"], c.norm_eps)
            q, k, v = layer["wq"] @ h, layer["wk"] @ h, layer["wv"] @ h
            for vector in (q, k):
                for i in range(0, len(vector), 2):
                    angle = position * c.rope_frequencies[i % c.head_dim // 2]
                    z = complex(*vector[i : i + 2]) * cmath.rect(1, angle)
                    vector[i : i + 2] = z.real, z.imag
            keys.append(k)
            values.append(v)
            heads = []
            for head in range(c.n_heads):
                own = slice(head * c.head_dim, (head + 1) * c.head_dim)
                shared_head = head * c.n_kv_heads // c.n_heads
                shared = slice(shared_head * c.head_dim, (shared_head + 1) * c.head_dim)
                scores = np.array([q[own] @ key[shared] for key in keys]) / math.sqrt(c.head_dim)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                heads.append(sum(w * v[shared] for w, v in zip(weights, values, strict=True)))
            x = x + layer["wo"] @ np.concatenate(heads)
            h = slow_norm(x, layer["ffn_norm"], c.norm_eps)
            gate = layer["w_gate"] @ h
            x = x + layer["w_down"] @ (gate / (1 + np.exp(-gate)) * (layer["w_up"] @ h))
    return model.tensors["embedding" if c.tied else "head"] @ slow_norm(
        x, model.tensors["norm"], c.norm_eps
    )


def slow_norm(x, weight, eps):
    return x / math.sqrt(np.mean(x**2) + eps) * weight


SHAPES = [
    {},
    {"tied": False, "n_kv_heads": 6},
    {"n_heads": 5, "n_kv_heads": 1, "head_dim": 6},
    {"rope_theta": 500.0, "rope_scaling": RopeScaling(4.0, 1.0, 4.0, 32), "norm_eps": 1e-2},
    {"rope_factors": (1.0, 3.0)},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_matches_plain_loop(tiny_config, shape):
    model = random_model(tiny_config(**shape), seed=3)
    tokens = [5, 1, 32, 0, 7, 7, 20]
    logits = float32.forward(model, tokens)
    assert logits.dtype == np.float32
    assert logits.shape == (7, 33)
    for n in (1, 4, 7):
        expected = slow_forward(model, tokens[:n])
        np.testing.assert_allclose(logits[n - 1], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("chunks", [[1] * 8, [3, 5], [7, 1]])
def test_cache_continues(tiny_config, chunks):
    model = random_model(tiny_config(), seed=4)
    tokens = list(range(8))
    cache = float32.Cache.empty(model.config)
    parts, begin = [], 0
    for n in chunks:
        parts.append(float32.forward(model, tokens[begin : begin + n], cache))
        begin += n
    assert cache.length == 8
    np.testing.assert_allclose(
        np.concatenate(parts), float32.forward(model, tokens), rtol=0, atol=1e-5
    )


def test_last_logits_only(tiny_config):
    model = random_model(tiny_config(), seed=4)
    last = float32.forward(model, [1, 2, 3], all_logits=False)
    assert last.shape == (1, 33)
    np.testing.assert_allclose(last, float32.forward(model, [1, 2, 3])[-1:], rtol=0, atol=1e-5)


ENDS = ("", " input", " output")  # of what a norm shows


def test_observer_sees_every_tensor(tiny_config):
    model = random_model(tiny_config(), seed=5)
    seen = []
    logits = float32.forward(
        model, [1, 2, 3], observe=lambda name, layer, array: seen.append((name, layer, array))
    )
    names = [(name, layer) for name, layer, _ in seen]
    assert names[:1] == [("x", None)]
    assert names[-1:] == [("logits", None)]
    of_a_layer = {"h", "q", "k", "v", "queries", "keys", "values", "scores", "attention", "a"}
    of_a_layer |= {"g", "u", "gate", "up", "hidden", "f", "x", "wo output", "w_down output"}
    of_a_layer |= {name + end for name in ("attention_norm", "ffn_norm") for end in ENDS}
    for layer in range(2):
        assert {name for name, where in names if where == layer} == of_a_layer
    arrays = {(name, layer): array for name, layer, array in seen}
    assert arrays["scores", 0].shape == (6, 3, 3)
    assert arrays["attention", 1].shape == (3, 24)
    assert arrays["keys", 1].shape == (3, 2, 4)
    np.testing.assert_array_equal(arrays["logits", None], logits)


def test_stories260k_greedy(stories260k, stories260k_model):
    """The 200 tokens and the text of llama2.c's own test, and the margins of the choices."""
    expected = json.loads((stories260k / "stories260K_greedy200.json").read_text())
    tokens = expected["prompt"] + float32.generate(stories260k_model, expected["prompt"], 200)
    assert tokens == expected["tokens"]
    text = (stories260k / "stories260K_upstream_expected_stdout.txt").read_text()
    assert stories260k_model.tokenizer.decode(tokens) == text.removesuffix("\n")
    logits = np.sort(float32.forward(stories260k_model, tokens[:-1]))
    gaps = logits[:, -1] - logits[:, -2]
    np.testing.assert_allclose(gaps, expected["top1_minus_top2"], rtol=0, atol=2e-4)


def test_sampling(tiny_config):
    model = random_model(tiny_config(), seed=6)
    one, same, other = (
        float32.generate(model, [1], 15, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other
    cold = float32.generate(model, [1], 15, temperature=1e-6, seed=1)
    assert cold == float32.generate(model, [1], 15)


def test_sample_follows_the_probabilities():
    logits = np.log(np.array([0.5, 0.25, 0.25], np.float32))
    uniforms = [0, 0.49, 0.51, 0.74, 0.76, np.nextafter(1, 0)]
    tokens = [float32.sample(logits, 1.0, uniform) for uniform in uniforms]
    assert tokens == [0, 0, 1, 1, 2, 2]
    assert float32.sample(np.float32([1, 3, 3]), 0, 0.9) == 1


def test_sigmoid_does_not_overflow(tiny_config):
    model = random_model(tiny_config(), seed=7)
    model.layers[0]["w_gate"] *= np.float32(1e4)
    assert np.isfinite(float32.forward(model, [1, 2, 3])).all()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "tokens must be a sequence of at least one token"),
        ([[1]], "tokens must be a sequence of at least one token"),
        ([1.5], "tokens must be integers, not float64"),
        ([1, 33], "tokens must be from 0 to 32, not 33"),
        ([-1, 3], "tokens must be from 0 to 32, not -1"),
        ([1] * 17, "17 positions exceed seq_len, 16"),
    ],
)
def test_bad_tokens(tiny_config, tokens, message):
    with pytest.raises(ValueError, match=message):
        float32.forward(random_model(tiny_config()), tokens)


def test_bad_generation(tiny_config):
    model = random_model(tiny_config())
    with pytest.raises(ValueError, match="17 positions exceed seq_len, 16"):
        float32.generate(model, [1, 2], 16)
    with pytest.raises(ValueError, match="temperature must be 0 or more, not -1"):
        float32.generate(model, [1], 2, temperature=-1)
    with pytest.raises(ValueError, match="n must be at least 1, not 0"):
        float32.generate(model, [1], 0)
    assert len(float32.generate(model, [1, 2], 15)) == 15
