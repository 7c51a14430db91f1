import numpy as np
import pytest
from celosia.reference.units.norm import sum_of_squares
from celosia.rtl.norm.sum_of_squares import SumOfSquares
from celosia.sim import bench


def vectors(lanes, words, width, n, seed):
    """``n`` vectors int[words, lanes]: extreme ones first, then random words of every magnitude."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    yield from (np.full((words, lanes), edge) for edge in (low, high, 0, -1))
    for _ in range(n - 4):
        x = rng.integers(low, high + 1, (words, lanes))
        yield x >> rng.integers(0, width, (words, 1))


def payloads(groups, interleaved):
    """The words of groups of vectors: index by index, or one token after the other."""
    for group in groups:
        words, tokens = len(group[0]), len(group)
        places = [(i, t) for i in range(words) for t in range(tokens)]
        for index, token in places if interleaved else sorted(places, key=lambda p: p[::-1]):
            frame = {"token": token, "index": index, "argument": 0}
            last = (index, token) == (words - 1, tokens - 1)
            yield {"data": group[token][index], **frame, "last": last}


@pytest.mark.parametrize(
    ("lanes", "words", "width", "tokens"),
    [(4, 3, 24, 4), (2, 1, 12, 1), pytest.param(16, 5, 28, 3, marks=pytest.mark.slow)],
)
def test_matches_reference(lanes, words, width, tokens):
    epsilon = 1234567
    x = [*vectors(lanes, words, width, 10 * tokens, seed=lanes)]
    groups = [x[n : n + tokens] for n in range(0, len(x), tokens)]
    y = [
        {"token": token, "total": int(sum_of_squares(v)) + epsilon}
        for group in groups
        for token, v in enumerate(group)
    ]
    cases = [
        {"inputs": [*payloads(groups, interleaved)], "counts": len(y), "stall": stall}
        for stall in (0.0, 0.5)
        for interleaved in (False, True)
    ]
    component = SumOfSquares(lanes, words, width, epsilon, tokens)
    results = bench.run_many(component, cases)
    assert max(word["total"] for word in y) < 1 << component.total_width
    for result in results:
        assert result.outputs["o"] == y
        first = result.stream_cycles["o"][0]
        assert first - component.latency in result.stream_cycles["i"]
    assert results[0].stream_cycles["i"] == [*range(len(y) * words)]
    assert results[0].stream_cycles["o"][0] == words - 1 + component.latency
    assert results[0].cycles == len(y) * words + component.latency


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 4, 24, 1), "lanes must be from 2 to 64, not 1"),
        ((4, 0, 24, 1), "words must be from 1 to 4096, not 0"),
        ((4, 4, 11, 1), "width must be from 12 to 28, not 11"),
        ((4, 4, 24, 0), "epsilon must be at least 1, not 0"),
        ((4, 4, 24, 1, 0), "tokens must be from 1 to 64, not 0"),
        ((16, 16, 28, 1), r"lanes \* words \* 4\*\*\(width - 1\) \+ epsilon must be below 2\*\*62"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        SumOfSquares(*arguments)
