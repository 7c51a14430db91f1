import numpy as np
import pytest
from celosia.reference.units.hadamard import block_hadamard, block_shift, hadamard_matrix
from celosia.rtl.quantize.block_hadamard import BlockHadamard
from celosia.sim import bench


def payloads(lanes, size, width, tokens, seed):
    """Rows of H at both limits, single values, halves; then seeded random words."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    rows = np.tile(hadamard_matrix(size, 1), (1, lanes // size))
    words = [np.where(row > 0, *edges) for row in rows for edges in ((high, low), (low, high))]
    words += [
        np.eye(lanes, dtype=int)[n] * value for n in range(lanes) for value in (low, -1, 1, 3)
    ]
    words += [np.full(lanes, value) for value in (low, high, 0)]
    words += [rng.integers(low, high + 1, lanes) >> rng.integers(0, width) for _ in range(100)]
    for n, word in enumerate(words):
        frame = {"index": int(rng.integers(0, 1 << 20)), "argument": n % 256, "last": n % 3 == 0}
        yield {"data": word.tolist(), "token": n % tokens, **frame}


@pytest.mark.parametrize(
    ("lanes", "size", "width", "tokens"),
    [
        pytest.param(8, 8, 16, 2, marks=pytest.mark.slow),
        (16, 16, 23, 1),
        (8, 4, 16, 1),
        (2, 2, 4, 3),
    ],
)
def test_matches_reference(lanes, size, width, tokens):
    inputs = [*payloads(lanes, size, width, tokens, seed=size)]
    y = [word | {"data": block_hadamard(word["data"], size, width).tolist()} for word in inputs]
    component = BlockHadamard(lanes, size, width, tokens)
    cases = [{"inputs": inputs, "stall": stall, "seed": 3} for stall in (0.0, 0.5)]
    free, stalled = bench.run_many(component, cases)
    assert free.outputs["o"] == y
    assert stalled.outputs["o"] == y
    assert (free.latency, free.cycles) == (component.latency, len(y) + component.latency)


def operations(lanes, size, tokens, seed):
    """Operations of some blocks of several tokens, index by index: the words of each operation."""
    rng = np.random.default_rng(seed)
    for number in range(12):
        count, blocks = int(rng.integers(1, tokens + 1)), int(rng.integers(1, 4))
        high = 1 << int(rng.integers(1, 16))
        x = rng.integers(-high, high, (count, blocks * size // lanes, lanes))
        if number < 2:
            x = x * 0 + (-high, high - 1)[number]
        yield x


def as_words(x, argument):
    """``x`` int[tokens, words, lanes] as words."""
    count, words, _ = x.shape
    return [
        {
            "data": x[token, index].tolist(),
            "token": token,
            "index": index,
            "argument": argument,
            "last": (index, token) == (words - 1, count - 1),
        }
        for index in range(words)
        for token in range(count)
    ]


@pytest.mark.parametrize(("lanes", "size", "tokens"), [(4, 16, 3), (2, 4, 1), (8, 64, 2)])
def test_blocks_of_several_words(lanes, size, tokens):
    inputs, y = [], []
    for argument, x in enumerate(operations(lanes, size, tokens, seed=size)):
        inputs += as_words(x, argument)
        result = block_hadamard(x.reshape(len(x), -1), size, 16).reshape(x.shape)
        y += as_words(result, argument)
    component = BlockHadamard(lanes, size, 16, tokens)
    cases = [{"inputs": inputs, "stall": stall, "seed": 4} for stall in (0.0, 0.5)]
    free, stalled = bench.run_many(component, cases)
    assert free.outputs["o"] == y
    assert stalled.outputs["o"] == y
    first = len(as_words(next(operations(lanes, size, tokens, seed=size))[:, : size // lanes], 0))
    assert free.latency == component.latency + first - 1


@pytest.mark.parametrize("size", [2, 4, 8, 16, 32])
def test_reference_is_exact(size):
    rng = np.random.default_rng(size)
    x = rng.integers(-(1 << 15), 1 << 15, (50, 3, size))
    exact = x @ hadamard_matrix(size, 1) / 2 ** block_shift(size)
    y = block_hadamard(x.reshape(50, -1), size, 24).reshape(x.shape)
    np.testing.assert_array_equal(y, np.floor(exact + 0.5))
    limited = block_hadamard(x.reshape(50, -1), size, 16).reshape(x.shape)
    np.testing.assert_array_equal(limited, np.clip(y, -(1 << 15), (1 << 15) - 1))
    norms = np.linalg.norm(exact, axis=-1) / np.linalg.norm(x, axis=-1)
    np.testing.assert_allclose(norms, size**0.5 / 2 ** block_shift(size))
    assert 0.7 < norms[0, 0] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((6, 2, 16), "lanes must be a power of two from 1 to 64, not 6"),
        ((8, 6, 16), "size must be a power of two from 1 to 512, not 6"),
        ((8, 1024, 16), "size must be a power of two from 1 to 512, not 1024"),
        ((8, 1, 16), "size must be from 2 to 512, not 1"),
        ((8, 4, 25), "width must be from 4 to 24, not 25"),
        ((8, 4, 16, 65), "tokens must be from 1 to 64, not 65"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        BlockHadamard(*arguments)
