import numpy as np
import pytest
from celosia.reference.functions.functions import rsqrt
from celosia.reference.units.norm import gain, sum_of_squares
from celosia.rtl.norm.rms_norm import RmsNorm
from celosia.sim import bench

EPSILON = 77


def operations(lanes, words, width, n_norms, tokens, seed):
    """Groups of vectors int[tokens, words, lanes] with their norm and shift, in either order."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    for n in range(24):
        group = int(rng.integers(1, tokens + 1)) if n % 4 else tokens
        x = rng.integers(low, high + 1, (group, words, lanes))
        x >>= rng.integers(0, width, (group, words, 1))
        if n < 8:
            x = rng.choice([low, high, 0, -1], (group, words, lanes))
        argument = [0, 62, width + 15, width + 16, width + 17, 14][n % 6]
        if n >= 6:
            argument = int(rng.integers(0, width + 5))
        places = [(i, t) for i in range(words) for t in range(group)]
        if n % 3 == 0:  # one token after the other
            places.sort(key=lambda place: place[::-1])
        yield x, n % n_norms, argument, places


def payload(x, norm, argument, place, last):
    index, token = place
    frame = {"token": token, "index": index, "argument": argument, "last": last}
    return {"data": x[token, index], **frame, "norm": norm}


def expected(word, gains, lanes):
    word = dict(word)
    g = gains[word.pop("norm")][word["index"] * lanes :][:lanes]
    return word | {"data": gain(word["data"], g, word["argument"], 23).tolist()}


@pytest.mark.parametrize(
    ("lanes", "words", "width", "n_norms", "tokens"),
    [(4, 3, 24, 5, 4), pytest.param(16, 5, 28, 2, 3, marks=pytest.mark.slow), (2, 1, 20, 1, 1)],
)
def test_matches_reference(lanes, words, width, n_norms, tokens):
    rng = np.random.default_rng(5)
    gains = rng.integers(-(1 << 15), 1 << 15, (n_norms, words * lanes))
    gains[0, :2] = -(1 << 15), (1 << 15) - 1
    inputs, scalars = [], []
    for x, norm, argument, places in operations(lanes, words, width, n_norms, tokens, seed=words):
        inputs += [payload(x, norm, argument, p, p == places[-1]) for p in places]
        for index, token in places:
            if index == words - 1:
                mantissa, shift = rsqrt(sum_of_squares(x[token]) + EPSILON)
                scalars.append({"token": token, "mantissa": mantissa, "shift": shift})
    y = [expected(word, gains, lanes) for word in inputs]
    assert {-(1 << 22), (1 << 22) - 1} <= {v for word in y for v in word["data"]}
    counts = {"o": len(y), "scalars": len(scalars)}
    cases = [{"inputs": inputs, "counts": counts, "stall": s, "seed": 3} for s in (0.0, 0.5)]
    component = RmsNorm(lanes, words, width, EPSILON, gains, tokens)
    for result in bench.run_many(component, cases):
        assert result.outputs == {"o": y, "scalars": scalars}


@pytest.mark.parametrize(
    ("lanes", "after"), [(4, 15), pytest.param(16, 16, marks=pytest.mark.slow)]
)
def test_latency_and_throughput(lanes, after):
    words, tokens = 8, 2
    frame = {"data": [1] * lanes, "argument": 0, "norm": 0}
    places = [(index, token) for index in range(words) for token in range(tokens)]
    inputs = [
        {**frame, "token": token, "index": index, "last": (index, token) == places[-1]}
        for index, token in places
    ]
    component = RmsNorm(lanes, words, 24, EPSILON, np.ones((1, words * lanes), int), tokens)
    result = bench.run(component, inputs, {"o": len(places), "scalars": tokens})
    n = len(places)
    assert result.stream_cycles["i"] == [*range(n)]
    assert result.stream_cycles["o"] == [*range(component.latency, n + component.latency)]
    assert result.stream_cycles["scalars"] == [n - 2 + after, n - 1 + after]


def test_vectors_follow_each_other_without_a_gap():
    n = 24
    word = {"data": [1] * 2, "token": 0, "argument": 0, "norm": 0}
    inputs = [{**word, "index": k % 12, "last": k % 12 == 11} for k in range(n)]
    component = RmsNorm(2, 12, 20, EPSILON, np.ones((1, n), int))
    result = bench.run(component, inputs, {"o": n, "scalars": 2})
    assert result.stream_cycles["i"] == [*range(n)]


GAINS = np.zeros((2, 16), int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 4, 24, 1, GAINS), "lanes must be from 2 to 64, not 1"),
        ((4, 4, 19, 1, GAINS), "width must be from 20 to 28, not 19"),
        ((4, 4, 24, 1, []), r"len\(gains\) must be from 1 to 1024, not 0"),
        ((4, 5, 24, 1, GAINS), r"each of gains must be int16\[20\], not array"),
        ((4, 4, 24, 1, GAINS + 32768), r"each of gains must be int16\[16\], not array"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        RmsNorm(*arguments)
