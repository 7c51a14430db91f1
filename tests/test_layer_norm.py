import runpy
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from celosia.reference.units.layer_norm import layer_norm
from celosia.rtl.norm.layer_norm import LayerNorm
from celosia.sim import bench
from framing import data_of

SHAPES = [(4, 5, 12, 3, 2), (1, 2, 18, 1, 1), pytest.param(16, 1, 8, 0, 3, marks=pytest.mark.slow)]


def vectors(n, width, seed):
    rng = np.random.default_rng(seed)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    spread = rng.normal(0, 1, (6, n)) * 2.0 ** rng.uniform(0, width - 2, (6, 1))
    single = np.zeros(n)
    single[n // 2] = low
    edges = [np.zeros(n), np.full(n, low), np.full(n, high), single, rng.choice([low, high], n)]
    return np.clip(np.round([*edges, *spread]), low, high).astype(np.int64)


def parameters(n, seed):
    rng = np.random.default_rng(seed)
    gains = rng.integers(-1 << 15, 1 << 15, n)
    gains[0] = -1 << 15
    return gains, rng.integers(-1 << 10, 1 << 10, n)


def words_of(x, lanes, tokens):
    final = x.shape[1] // lanes - 1
    return [
        {
            "data": word.tolist(),
            "token": k % tokens,
            "index": index,
            "argument": k,
            "last": int(k % 2 and index == final),
        }
        for k, vector in enumerate(x)
        for index, word in enumerate(vector.reshape(-1, lanes))
    ]


@pytest.mark.parametrize(("lanes", "words", "width", "shift", "tokens"), SHAPES)
def test_matches_reference(lanes, words, width, shift, tokens):
    n = lanes * words
    x, (gains, biases) = vectors(n, width, seed=n), parameters(n, seed=n)
    unit = LayerNorm(lanes, words, width, 77, gains, biases, shift, 14, tokens)
    y = layer_norm(x, gains, biases, 77, shift, 14)
    assert len(set(y.flat)) > n
    inputs, expected = words_of(x, lanes, tokens), words_of(y, lanes, tokens)
    cases = [{"inputs": inputs, "stall": stall, "seed": n} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(unit, cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    count, start = len(inputs), words - 1 + unit.latency
    assert smooth.stream_cycles["i"] == [*range(count)]
    assert smooth.stream_cycles["o"] == [*range(start, start + count)]
    assert smooth.signals["error"] == 0


def test_a_broken_vector_is_reported_and_the_next_one_right():
    lanes, words, width, shift, tokens = SHAPES[0]
    x, (gains, biases) = vectors(20, width, seed=20)[-3:], parameters(20, seed=20)
    inputs = words_of(x, lanes, tokens)
    del inputs[3]
    unit = LayerNorm(lanes, words, width, 77, gains, biases, shift, 14, tokens)
    result = bench.run(unit, inputs, 15, stall=0.5)
    assert result.signals["error"] == 1
    y = layer_norm(x[1:], gains, biases, 77, shift, 14)
    np.testing.assert_array_equal(data_of(result.outputs["o"][5:], (2, 20)), y)


@pytest.mark.parametrize("n", [4, 96, 768])
def test_reference_is_near_exact_values(n):
    x, (gains, biases) = vectors(n, 16, seed=n), parameters(n, seed=1)
    for vector in x:
        mean = Fraction(int(vector.sum()), n)
        variance = sum((int(v) - mean) ** 2 for v in vector) / n + Fraction(9, n**2)
        root = float(variance) ** 0.5
        z = np.array([float(int(v) - mean) for v in vector]) / root
        error = np.abs(layer_norm(vector, gains, biases, 9, 4, 30) - z * gains / 16 - biases)
        assert (error <= bound(z, gains, 4)).all()


def bound(z, gains, shift):
    """The largest error that the docstring allows for normalised values ``z``."""
    parts = np.abs(z * gains) * 6.2e-5 + np.abs(z) / 4 + np.abs(gains) * 2.0**-15
    return 0.5 + parts / 2**shift


ONES = np.ones(16, int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 4, 8, 1, ONES, ONES), "lanes must be a power of two from 1 to 64, not 3"),
        ((4, 0, 8, 1, ONES, ONES), "words must be from 1 to 4096, not 0"),
        ((64, 512, 8, 1, ONES, ONES), r"lanes \* words must be from 2 to 16384, not 32768"),
        ((4, 4, 19, 1, ONES, ONES), "width must be from 4 to 18, not 19"),
        ((4, 4, 8, 0, ONES, ONES), "epsilon must be at least 1, not 0"),
        (
            (64, 256, 18, 1, ONES, ONES),
            r"epsilon must be below 2\*\*62, not 46116",
        ),
        ((4, 4, 8, 1, ONES[1:], ONES), "gains must be 16 integers of 16 signed bits"),
        ((4, 4, 8, 1, ONES / 2, ONES), "gains must be whole numbers"),
        ((4, 4, 8, 1, ONES, ONES << 17), "biases must be 16 integers of 18 signed bits"),
        ((4, 4, 8, 1, ONES, ONES, 31), "shift must be from 0 to 30, not 31"),
        ((4, 4, 8, 1, ONES, ONES, 0, 25), "o_width must be from 4 to 24, not 25"),
        ((4, 4, 8, 1, ONES, ONES, 0, 8, 65), "tokens must be from 1 to 64, not 65"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        LayerNorm(*arguments)


def test_example(capsys):
    path = Path(__file__).parents[1] / "examples" / "components" / "layer_norm.py"
    runpy.run_path(str(path))
    assert "[-1.34, -0.45, 0.45, 1.34]" in capsys.readouterr().out
