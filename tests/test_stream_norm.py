import numpy as np
import pytest
from amaranth import unsigned
from celosia.reference.units.stream_norm import stream_norm
from celosia.rtl.norm.stream_norm import StreamNorm
from celosia.sim import bench

EPSILON = 77
LOW, HIGH = -(1 << 23), (1 << 23) - 1


def vectors(shape, seed):
    """Vectors int[n, words, lanes] of every size and sort, some with padded lanes."""
    rng = np.random.default_rng(seed)
    n, words, lanes = shape
    x = rng.integers(LOW, HIGH + 1, shape) >> rng.integers(0, 24, (n, 1, 1))
    x[1::4] >>= rng.integers(0, 24, (*x[1::4].shape[:2], 1))  # words of unequal sizes
    x[2::4, :, lanes // 2 :] = 0
    edges = [np.zeros((words, lanes)), np.full((words, lanes), LOW), np.full((words, lanes), HIGH)]
    single = np.zeros((words, lanes))
    single[-1, 0] = LOW
    edges += [single, -single - 1, rng.choice([LOW, HIGH, 0, -1], (words, lanes)), single // LOW]
    x[: len(edges)] = np.array(edges[:n], np.int64)
    return x


def gains_of(n, sets, seed):
    rng = np.random.default_rng(seed)
    gains = rng.integers(-1 << 15, 1 << 15, (sets, n))
    gains[0, :2] = -1 << 15, (1 << 15) - 1
    return gains


def operations(words, lanes, tokens, sets, seed):
    """Operations of a random group of tokens and number of vectors: (x, set, first, group)."""
    rng = np.random.default_rng(seed)
    x = vectors((48, words, lanes), seed)
    place = 0
    while place < len(x):
        first = int(rng.integers(tokens)) if rng.random() < 0.2 else 0
        group = int(rng.integers(first, tokens)) - first + 1
        if rng.random() < 0.5:
            first, group = 0, tokens
        heads = int(rng.integers(1, 4))
        some = x[place : place + heads * group]
        heads = len(some) // group
        if not heads:
            break
        yield (
            some[: heads * group].reshape(heads, group, words, lanes),
            int(rng.integers(sets)),
            first,
        )
        place += heads * group


def words_of(x, number, first, base=0):
    """Vectors int[heads, group, words, lanes] as words."""
    heads, group, words, _ = x.shape
    for head in range(heads):
        for index in range(words):
            for t in range(group):
                yield {
                    "data": x[head, t, index].tolist(),
                    "token": first + t,
                    "index": base + head * words + index,
                    "argument": number + 7,
                    "last": int((head, index, t) == (heads - 1, words - 1, group - 1)),
                    "set": number,
                    "layer": number % 4,
                }


def offsets_of(n, sets, o_width):
    rng = np.random.default_rng(n)
    return rng.integers(-1 << o_width - 1, 1 << o_width - 1, (sets, n)) >> rng.integers(0, 16, n)


def without(words):
    return [{name: value for name, value in word.items() if name != "set"} for word in words]


@pytest.mark.parametrize(
    ("lanes", "words", "shifts", "o_width", "tokens", "offset", "limit"),
    [
        (4, 5, [0, -8, 3], 24, 3, True, None),
        pytest.param(8, 16, [-2], 20, 1, False, None, marks=pytest.mark.slow),
        (3, 1, [15, -8, -8, 0, 1], 16, 2, True, 20_000),
        pytest.param(16, 2, [4, 4], 16, 4, False, 900, marks=pytest.mark.slow),
    ],
)
def test_matches_reference(lanes, words, shifts, o_width, tokens, offset, limit):
    gains = gains_of(words * lanes, len(shifts), seed=words)
    offsets = offsets_of(words * lanes, len(shifts), o_width) if offset else None
    inputs, expected = [], []
    for x, number, first in operations(words, lanes, tokens, len(shifts), seed=lanes):
        by_word = gains[number].reshape(words, lanes)
        added = offsets[number].reshape(words, lanes) if offset else 0
        y = stream_norm(x, by_word, EPSILON, shifts[number], o_width, added, limit)
        inputs += words_of(x, number, first)
        expected += without(words_of(y, number, first))
    assert len({v for word in expected for v in word["data"]}) > 40
    formats = shifts, o_width, tokens, offsets, limit
    unit = StreamNorm(lanes, words, EPSILON, gains, *formats, layer=unsigned(2))
    cases = [{"inputs": inputs, "stall": stall, "seed": words} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(unit, cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    assert smooth.stream_cycles["i"] == [*range(len(inputs))]


@pytest.mark.parametrize(
    ("lanes", "latency", "limit"), [(4, 21, None), pytest.param(16, 23, 9, marks=pytest.mark.slow)]
)
def test_latency_and_throughput(lanes, latency, limit):
    words, tokens = 16, 2
    gains = gains_of(words * lanes, 1, seed=1)
    unit = StreamNorm(lanes, words, EPSILON, gains, [0], 24, tokens, None, limit, layer=unsigned(2))
    assert unit.latency == latency
    x = vectors((12, words, lanes), seed=2).reshape(6, 2, words, lanes)
    inputs = [*words_of(x, 0, 0)]
    result = bench.run(unit, inputs)
    count, start = len(inputs), (words - 1) * tokens + latency
    assert result.stream_cycles["i"] == [*range(count)]
    assert result.stream_cycles["o"] == [*range(start, start + count)]


def test_a_vector_of_several_operations():
    """Of attention, each head is an operation of its own, whose indices run on."""
    lanes, words, tokens = 4, 6, 2
    gains = gains_of(words * lanes, 1, seed=3)
    x = vectors((4, words, lanes), seed=9).reshape(2, 2, words, lanes)
    y = stream_norm(x, gains.reshape(words, lanes), EPSILON, 0, 24)
    streams = [[], []]
    for values, to in zip((x, y), streams, strict=True):
        for vector in values:
            for base in range(0, words, 2):
                to += words_of(vector[None, :, base : base + 2], 0, 0, base)
    unit = StreamNorm(lanes, words, EPSILON, gains, [0], tokens=tokens, layer=unsigned(2))
    result = bench.run(unit, streams[0], stall=0.3)
    assert result.outputs["o"] == without(streams[1])


def exact(x, gains, epsilon, shift):
    x = x.astype(float)
    z = x / np.sqrt((x**2).sum(axis=(-2, -1), keepdims=True) + epsilon)
    return z, z * gains / 2.0**shift


def bound(z, gains, shift, relative):
    parts = relative * np.abs(z * gains) + 2.0**-18 * np.abs(gains) + np.abs(z)
    return 0.5 + parts / 2.0**shift


@pytest.mark.parametrize("shift", [-8, 0, 6])
@pytest.mark.parametrize("lanes", [2, 4, 8, 64])
def test_error_of_the_reference(lanes, shift):
    rng = np.random.default_rng(lanes)
    shape = (200, 512 // lanes, lanes)
    gains = gains_of(512, 1, seed=1).reshape(shape[1:])
    normal = np.round(rng.normal(0, 1, shape) * 2.0 ** rng.uniform(3, 21, (200, 1, 1)))
    for x, relative in ((normal, 3e-4), (np.abs(normal), None), (worst(shape), None)):
        z, y = exact(x, gains, 9, shift)
        got = stream_norm(x.astype(np.int64), gains, 9, shift, 40)
        relative = relative or 6.2e-5 + (1 + lanes**0.5) * 2.0**-11
        assert (np.abs(got - y) <= bound(z, gains, shift, relative)).all()


def worst(shape):
    """Words of one large value and small ones, all of them cut by the most."""
    lanes = shape[-1]
    x = np.full(shape, (1025 << 8) - 1, float)
    x[..., 1:] = (int(1024 / lanes**0.5 + 1) << 8) - 1
    return x


def test_padded_lanes_change_nothing():
    x = vectors((20, 4, 8), seed=5)
    x[..., 5:] = 0
    gains = gains_of(32, 1, seed=2).reshape(4, 8)
    y = stream_norm(x, gains, EPSILON, 0, 24)
    assert not y[..., 5:].any()
    np.testing.assert_array_equal(y[..., :5], stream_norm(x[..., :5], gains[:, :5], EPSILON, 0, 24))


GAINS = np.zeros((2, 16), int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 4, 1, GAINS, [0, 0]), "lanes must be from 2 to 64, not 1"),
        ((4, 0, 1, GAINS, [0, 0]), "words must be from 1 to 4096, not 0"),
        ((4, 4, 0, GAINS, [0, 0]), "epsilon must be at least 1, not 0"),
        ((64, 4096, 1, GAINS, [0, 0]), r"must be below 2\*\*62"),
        ((4, 4, 1, [], []), r"len\(gains\) must be from 1 to 1024, not 0"),
        ((4, 5, 1, GAINS, [0, 0]), r"each of gains must be int16\[20\], not array"),
        ((4, 4, 1, GAINS, [0]), r"shifts must be 2, one for each of gains, not \[0\]"),
        ((4, 4, 1, GAINS, [0, 16]), "each of shifts must be from -8 to 15, not 16"),
        ((4, 4, 1, GAINS, [0, 0], 25), "o_width must be from 16 to 24, not 25"),
        ((4, 4, 1, GAINS, [0, 0], 24, 65), "tokens must be from 1 to 64, not 65"),
        ((4, 4, 1, GAINS, [0, 0], 24, 1, GAINS[:1]), r"offsets must be int\[2, 16\] as gains"),
        (
            (4, 4, 1, GAINS, [0, 0], 16, 1, None, 1 << 15),
            "limit must be from 1 to 32767",
        ),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        StreamNorm(*arguments)
