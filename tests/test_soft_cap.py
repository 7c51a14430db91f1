import numpy as np
import pytest
from amaranth import unsigned
from celosia.reference.units.soft_cap import soft_cap, soft_cap_table
from celosia.rtl.activation.soft_cap import SoftCap
from celosia.sim import bench
from framing import frame

LOW, HIGH = -(1 << 23), (1 << 23) - 1


def values(cap, shape, seed):
    """Every edge of the table and of the format, and random values of every size."""
    rng = np.random.default_rng(seed)
    end = 512 << soft_cap_table(cap)[2]
    edges = [0, 1, cap, end // 512 - 1, end // 512, end - end // 512, end - 1, end, 2 * end, -LOW]
    edges = np.clip([s * e + d for e in edges for s in (1, -1) for d in (-1, 0, 1)], LOW, HIGH)
    x = rng.integers(LOW, HIGH + 1, shape) >> rng.integers(0, 22, shape)
    x.flat[: len(edges)] = edges
    return x


@pytest.mark.parametrize(
    ("lanes", "cap", "tokens", "blocks"),
    [(4, 50 << 12, 1, False), (8, 128, 3, True), (3, (1 << 23) - 1, 2, False)],
)
def test_matches_reference(lanes, cap, tokens, blocks):
    x = values(cap, (90, tokens, lanes), seed=lanes)
    kinds = np.arange(90 * tokens).reshape(90, tokens) % 8
    inputs, expected = (frame(v, 5, kind=kinds) for v in (x, soft_cap(x, cap)))
    cases = [{"inputs": inputs, "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(SoftCap(lanes, cap, tokens, blocks, kind=unsigned(3)), cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    count = len(inputs)
    assert smooth.stream_cycles["i"] == [*range(count)]
    assert smooth.stream_cycles["o"] == [*range(6, count + 6)]


@pytest.mark.parametrize("cap", [128, 171, 1 << 12, 30 << 8, 50 << 12, 1 << 20, (1 << 23) - 1])
def test_error_of_the_reference(cap):
    x = values(cap, 1 << 18, seed=cap)
    x[::2] = np.random.default_rng(1).integers(-min(8 * cap, HIGH), min(8 * cap, HIGH), 1 << 17)
    y = soft_cap(x, cap)
    error = np.abs(y - cap * np.tanh(x / cap))
    assert error.max() <= 5.3e-5 * cap + 1
    assert np.abs(y).max() <= cap
    np.testing.assert_array_equal(soft_cap(-x[x != LOW], cap), -y[x != LOW])
    everywhere = soft_cap(np.sort(x), cap)
    assert (np.diff(everywhere) >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 500), "lanes must be from 1 to 64, not 0"),
        ((2, 127), "cap must be from 128 to 8388607, not 127"),
        ((2, 1 << 23), "cap must be from 128 to 8388607, not 8388608"),
        ((2, 500, 65), "tokens must be from 1 to 64, not 65"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        SoftCap(*arguments)
