import numpy as np
import pytest
from celosia.reference.arithmetic import round_shift
from celosia.reference.units.head_quantize import head_quantize, least_steps, value_quantize
from celosia.rtl.attention.head_quantize import HeadQuantize, _divisor, _logarithmic
from celosia.sim import bench
from framing import frame


def operation(seed, lanes, head_words, heads, n):
    """Heads int16[index, n, lanes] of every size, with zeros and the largest magnitudes."""
    chooser = np.random.default_rng(seed)
    shape = (heads, head_words, n, lanes)
    x = chooser.integers(-1 << 15, 1 << 15, shape)
    x >>= chooser.integers(0, 16, (heads, 1, n, 1))
    if seed == 0:
        for head, value in enumerate([0, 1, -1, -(1 << 15), (1 << 15) - 1]):
            x[head] = np.where(chooser.random(x[head].shape) < 0.3, value, 0)
    return x.reshape(-1, n, lanes)


def largest_heads(lanes, head_words, n):
    """One head each of largest magnitude m, ..., for steps and ties all over the range."""
    largest = np.unique(np.concatenate([np.arange(1, 600, 7), 127 << np.arange(9), np.arange(20)]))
    largest = largest[: len(largest) // n * n].reshape(-1, n)
    x = np.zeros((len(largest), head_words, n, lanes), np.int64)
    x[:, -1, :, -1] = -largest
    x[:, 0, :, 0] = largest // 2
    return x.reshape(-1, n, lanes)


def quantized(x, head_words, width=8, logarithmic=False):
    words, n, lanes = x.shape
    shape = (-1, head_words, n, lanes)
    heads = x.reshape(shape).transpose(0, 2, 1, 3).reshape(-1, n, head_words * lanes)
    y, step = (value_quantize if logarithmic else head_quantize)(heads, width)
    y = y.reshape(-1, n, head_words, lanes).transpose(0, 2, 1, 3).reshape(words, n, lanes)
    head, word = np.divmod(np.arange(words), head_words)
    return y, {
        "step": np.repeat(step, head_words, axis=0),
        "head": np.repeat(head[:, None], n, axis=1),
        "word": np.repeat(word[:, None], n, axis=1),
    }


@pytest.mark.parametrize(("lanes", "head_words", "tokens"), [(8, 1, 1), (20, 3, 4)])
def test_matches_reference(lanes, head_words, tokens):
    operations = [largest_heads(lanes, head_words, tokens)]
    for seed in range(6):
        n = tokens if seed % 2 == 0 else 1 + seed % tokens
        operations.append(operation(seed, lanes, head_words, max(5, 30 // n // (seed + 1)), n))
    words = [word for k, x in enumerate(operations) for word in frame(x, k)]
    expected = []
    for k, x in enumerate(operations):
        y, more = quantized(x, head_words)
        expected += frame(y, k, **more)
    cases = [{"inputs": words, "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    cases.append({"inputs": frame(operations[1]), "stall": 0.0})
    results = bench.run_many(HeadQuantize(lanes, head_words, tokens), cases)
    assert [r.outputs["o"] for r in results[:2]] == [expected] * 2
    latency = 8 + (lanes > 4) + (lanes > 16)
    whole = results[2]
    assert whole.first_cycle["o"] == (head_words - 1) * tokens + latency
    assert whole.cycles == len(operations[1]) * tokens + whole.latency
    assert {1, 288} <= {word["step"] for word in expected}


@pytest.mark.parametrize(("width", "logarithmic"), [(4, True), (6, False)])
def test_other_widths_and_steps(width, logarithmic):
    x = np.concatenate([largest_heads(2, 2, 3), operation(0, 2, 2, 10, 3)])
    y, more = quantized(x, 2, width, logarithmic)
    component = HeadQuantize(2, 2, 3, width, logarithmic)
    for stall in (0.0, 0.5):
        result = bench.run(component, frame(x), stall=stall, seed=width)
        assert result.outputs["o"] == frame(y, **more)


def test_keys_of_another_width():
    """Queries and keys in turn through one unit."""
    component = HeadQuantize(2, 2, 3, key_width=4)
    words, expected = [], []
    for argument in (0, 1, 254, 3, 5, 8):
        x = operation(argument, 2, 2, 6, 3)
        y, more = quantized(x, 2, 4 if argument % 2 else 8)
        words += frame(x, argument)
        expected += frame(y, argument, **more)
    result = bench.run(component, words, stall=0.3, seed=1)
    assert result.outputs["o"] == expected


@pytest.mark.parametrize("width", [8, 6, 4])
@pytest.mark.parametrize("divisor", [_divisor, _logarithmic])
def test_no_quotient_needs_a_limit(width, divisor):
    magnitude = np.arange((1 << 15) + 1)
    least = least_steps(magnitude[:, None], width)
    divisors = [divisor(n) for n in range(least.max() + 1)]
    reciprocal, exponent = (np.array([d[k] for d in divisors]) for k in ("reciprocal", "exponent"))
    for x in (magnitude, -magnitude):
        codes = round_shift(x * reciprocal[least], 22 - width + exponent[least])
        assert abs(codes).max() == (1 << width - 1) - 1


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match="width must be 8, 6 or 4, not 5"):
        HeadQuantize(2, 2, width=5)


@pytest.mark.parametrize(("name", "most"), [("lanes", 64), ("head_words", 256), ("tokens", 64)])
@pytest.mark.parametrize("beyond", [0, 1])
def test_parameters_out_of_range(name, most, beyond):
    value = most + 1 if beyond else 0
    with pytest.raises(ValueError, match=f"{name} must be from 1 to {most}, not {value}"):
        HeadQuantize(**{"lanes": 2, "head_words": 2, "tokens": 2} | {name: value})
