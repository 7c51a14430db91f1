import numpy as np
import pytest
from celosia.reference.swiglu import swiglu
from celosia.rtl.activation.swiglu import SwiGlu
from celosia.sim import bench
from framing import frame

EDGES = [0, 1, -1, (1 << 16) - 1, 1 << 16, -(1 << 16), 1 - (1 << 16)]
EDGES += [(1 << 19) - 1, 1 << 19, -(1 << 19), -(1 << 19) - 1, (1 << 17) - 1, 1 << 17, -(1 << 17)]
EDGES += [-(1 << 17) - 1, (1 << 23) - 1, -(1 << 23)]


def operation(seed, words, tokens, lanes):
    """Gates and ups int[words, tokens, lanes]: every edge beside every other, and random values."""
    chooser = np.random.default_rng(seed)
    size = words * tokens * lanes
    gate, up = (
        chooser.integers(-1 << 23, 1 << 23, size) >> chooser.integers(0, 20, size) for _ in "gu"
    )
    n = min(len(EDGES) ** 2, size)
    gate[:n], up[:n] = (np.resize(column, n) for column in np.meshgrid(EDGES, EDGES))
    return gate.reshape(words, tokens, lanes), up.reshape(words, tokens, lanes)


@pytest.mark.parametrize(
    ("lanes", "tokens", "fraction"), [(8, 1, 12), (2, 4, 12), (2, 1, 7), (4, 1, 0)]
)
def test_matches_reference(lanes, tokens, fraction):
    inputs, expected = [], []
    for seed, (argument, n) in enumerate(
        [(14, tokens), (0, 1), (1, tokens), (20, tokens), (31, 1)]
    ):
        gate, up = operation(seed, 400 // n // lanes, n, lanes)
        words = np.stack([gate, up], axis=1).reshape(-1, n, lanes)
        inputs += frame(words, argument)
        expected += frame(swiglu(gate, up, argument, 23, fraction), argument)
    cases = [
        {"inputs": inputs, "counts": len(expected), "stall": stall, "seed": 1}
        for stall in (0.0, 0.5)
    ]
    results = bench.run_many(SwiGlu(lanes, tokens, fraction), cases)
    for result in results:
        assert result.outputs["o"] == expected
    fast = results[0]
    assert fast.first_cycle["o"] == tokens + 10
    assert fast.cycles == len(inputs) + 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lanes": 0}, "lanes must be from 1 to 64, not 0"),
        ({"lanes": 2, "tokens": 65}, "tokens must be from 1 to 64, not 65"),
        ({"lanes": 2, "fraction": 13}, "fraction must be from 0 to 12, not 13"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        SwiGlu(**arguments)
