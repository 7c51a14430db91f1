import numpy as np
import pytest
from celosia.reference.functions.functions import sine_cosine
from celosia.reference.model import RopeScaling
from celosia.reference.units.rope import rope, rope_increments
from celosia.rtl.attention.rope_halves import HeadPairs, RopeHalves
from celosia.sim import bench
from framing import frame
from python_bench import run

LLAMA_3 = RopeScaling(8.0, 1.0, 4.0, 8192)


@pytest.mark.parametrize(("lanes", "head_words"), [(2, 1), (4, 3), (8, 2), (2, 5)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_pairs_and_back(lanes, head_words, stall):
    n = lanes * head_words
    x = np.random.default_rng(n).integers(-128, 128, (5, n))
    order = np.arange(n).reshape(2, -1).T.reshape(-1)  # 0, n / 2, 1, n / 2 + 1, ...
    halves, pairs = (frame(y.reshape(-1, 1, lanes), argument=3) for y in (x, x[:, order]))
    assert run(HeadPairs(lanes, head_words, 8), halves, stall) == pairs
    assert run(HeadPairs(lanes, head_words, 8, back=True), pairs, stall) == halves


@pytest.mark.parametrize(("lanes", "head_words"), [(4, 3), (8, 1)])
def test_matches_reference(lanes, head_words):
    n = lanes * head_words
    increments = rope_increments(n, 500000.0, LLAMA_3)
    unit = RopeHalves(lanes, head_words, increments.tolist())
    x = np.random.default_rng(n).integers(-1 << 17, 1 << 17, (40, n))
    inputs = {"i": frame(x.reshape(-1, 1, lanes)), "position": [8191]}
    sine, cosine = sine_cosine([8191], increments)
    expected = frame(rope(x, sine, cosine, halves=True).reshape(-1, 1, lanes))
    cases = [{"inputs": inputs, "counts": len(expected), "stall": s} for s in (0.0, 0.5)]
    smooth, stalled = bench.run_many(unit, cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    accepted, given = smooth.stream_cycles["i"], smooth.stream_cycles["o"]
    assert accepted[-1] - accepted[0] > len(expected) - 1  # the first ones wait for the table
    assert [b - a for a, b in zip(accepted[-20:], given[-20:], strict=True)] == [unit.latency] * 20
    assert given == [*range(given[0], given[0] + len(expected))]


def test_a_position_serves_the_heads_that_end_behind_it():
    increments = rope_increments(6)
    unit = RopeHalves(2, 3, increments.tolist())
    x = np.random.default_rng(1).integers(-1 << 15, 1 << 15, (6, 6))
    positions = {"position": [5, 77]}
    result = bench.run(unit, {"i": frame(x.reshape(-1, 1, 2)), **positions}, 18, stall=0.3, seed=4)
    offered = result.stream_cycles["position"][1]
    ends = result.stream_cycles["i"][2::3]
    y = []
    for head, end in zip(x, ends, strict=True):
        sine, cosine = sine_cosine([77 if end > offered else 5], increments)
        y.append(rope(head[None], sine, cosine, halves=True))
    assert result.outputs["o"] == frame(np.array(y).reshape(-1, 1, 2))


def test_increments_are_those_of_llama_3():
    plain, scaled = rope_increments(128, 500000.0), rope_increments(128, 500000.0, LLAMA_3)
    turns = plain * 8192 / 2.0**32
    assert plain[0] == round(2**32 / (2 * np.pi))
    np.testing.assert_array_equal(scaled[turns > 4], plain[turns > 4])
    assert np.abs(scaled * 8 - plain)[turns < 1].max() <= 8
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert (scaled < plain)[between].all()
    assert (scaled * 8 > plain)[between].all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7,), "head_dim must be even and positive, not 7"),
        ((0,), "head_dim must be even and positive, not 0"),
        ((8, 0.5), "base must be at least 1, not 0.5"),
    ],
)
def test_bad_increments(arguments, message):
    with pytest.raises(ValueError, match=message):
        rope_increments(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1, 8), "lanes must be a power of two from 2 to 64, not 1"),
        ((2, 257, 8), "head_words must be from 1 to 256, not 257"),
        ((2, 1, 65), "width must be from 1 to 64, not 65"),
    ],
)
def test_bad_parameters_of_pairs(arguments, message):
    with pytest.raises(ValueError, match=message):
        HeadPairs(*arguments)


def test_bad_parameters():
    with pytest.raises(ValueError, match="increments must be from 1 to 4 numbers, not 5"):
        RopeHalves(4, 2, [1] * 5)
