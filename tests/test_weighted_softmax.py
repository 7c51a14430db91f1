"""Blocks of softmax whose powers are multiplied by the steps of values, and those steps."""

import numpy as np
import pytest
from celosia.reference.arithmetic import saturate
from celosia.reference.units.head_quantize import value_quantize
from celosia.reference.units.softmax import TOTAL_PLACES, weighted_block
from celosia.rtl.attention.weighted_softmax import WeightedSoftmaxBlock
from celosia.sim import bench
from test_softmax_block import blocks


def operation(lanes, tokens, position, seed):
    """Words of scores with steps of every size, the last of them beyond what is seen."""
    rng = np.random.default_rng(seed)
    scores = [*blocks(lanes, seed)]
    last = (position + tokens - 1) // lanes + 1
    for index in range(max(0, last - 40), last + 1):
        for token in range(tokens):
            yield {
                "data": scores[int(rng.integers(len(scores)))],
                "value_steps": rng.choice([0, 65, 72, *rng.integers(0, 66, lanes)], lanes),
                "token": token,
                "index": index,
                "argument": index % 256,
                "last": int((index, token) == (last, tokens - 1)),
            }


def expected(word, position, lanes, fraction, width):
    valid = word["index"] * lanes + np.arange(lanes) <= position + word["token"]
    scores = saturate(word["data"].astype(np.int64) << (8 - fraction), width + 8 - fraction)
    found = weighted_block(scores, valid, width - fraction, word["value_steps"].astype(np.int64))
    power, exponent, total = found
    frame = {name: word[name] for name in ("token", "index", "argument", "last")}
    return frame | {"data": power.tolist(), "exponent": int(exponent), "total": int(total)}


@pytest.mark.parametrize(
    ("lanes", "tokens", "fraction", "width"),
    [(4, 2, 8, 16), pytest.param(16, 1, 3, 16, marks=pytest.mark.slow)],
)
def test_matches_reference(lanes, tokens, fraction, width):
    cases, y = [], []
    for position in (0, lanes, 37 * lanes - 2):
        inputs = [*operation(lanes, tokens, position, seed=position)]
        y.append([expected(word, position, lanes, fraction, width) for word in inputs])
        for stall in (0.0, 0.5):
            settings = {"position": position}
            cases.append({"inputs": inputs, "settings": settings, "stall": stall, "seed": 4})
    component = WeightedSoftmaxBlock(lanes, tokens, fraction, width)
    results = bench.run_many(component, cases)
    for n, result in enumerate(results):
        assert result.outputs["o"] == y[n // 2]
    assert results[0].latency == component.latency
    totals = {word["total"] for words in y for word in words}
    assert 0 in totals
    assert max(totals) > 127 << TOTAL_PLACES - 2


def test_scores_that_no_table_holds_are_refused():
    with pytest.raises(ValueError, match="whole must be from 8 to 15, not 16"):
        WeightedSoftmaxBlock(4, width=24)


def test_total_is_that_of_the_powers_without_steps():
    """And the powers are those of the scores times the steps, to half a unit."""
    rng = np.random.default_rng(3)
    scores = rng.integers(-2000, 2000, (200, 8))
    steps, valid = rng.integers(0, 66, (200, 8)), rng.random((200, 8)) < 0.8
    power, exponent, total = weighted_block(scores, valid, 8, steps)
    exact = np.where(valid, 127 * 2.0 ** (scores / 256), 0)
    assert abs(power - exact * 2.0 ** (steps / 8 - exponent[:, None])).max() < 0.51
    counts = valid.any(axis=1)
    sums = exact.sum(axis=1)[counts]
    unit = 2.0 ** (exponent[counts] - TOTAL_PLACES)
    assert abs(total[counts] * unit / sums - 1).max() < 0.04
    assert not total[~counts].any()


@pytest.mark.parametrize("width", [8, 6, 4])
def test_values_lie_within_half_a_step(width):
    chooser = np.random.default_rng(width)
    x = chooser.integers(-1 << 15, 1 << 15, (500, 8)) >> chooser.integers(0, 12, (500, 1))
    codes, n = value_quantize(x, width)
    step = 2.0 ** (n / 8 + 8 - width)[:, None]
    assert abs(codes).max() == (1 << width - 1) - 1
    assert abs(codes - x / step).max() < 0.51
    large = abs(x).max(axis=1) > 1 << 12
    assert abs(codes[large]).max(axis=1).min() > 0.85 * abs(codes).max()
