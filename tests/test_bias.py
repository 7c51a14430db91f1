from fractions import Fraction

import numpy as np
import pytest
from amaranth import unsigned
from celosia.reference.units.bias import bias
from celosia.rtl.mac.bias import Bias
from celosia.sim import bench

LOW, HIGH = -(1 << 23), (1 << 23) - 1
EDGES = [LOW, LOW + 1, -1, 0, 1, HIGH - 1, HIGH]


def operations(lanes, tokens, seed):
    """Operations (x int[words, tokens, lanes], biases int[words, lanes] or None, first token)."""
    rng = np.random.default_rng(seed)
    x, b = (np.ravel(column) for column in np.meshgrid(EDGES, EDGES))
    n = -(-x.size // lanes)
    yield np.resize(x, (n, 1, lanes)), np.resize(b, (n, lanes)), 0
    for k in range(24):
        first = int(rng.integers(tokens)) if k % 3 == 0 else 0
        group = int(rng.integers(first, tokens))
        words = int(rng.integers(1, 6))
        x = rng.integers(LOW, HIGH + 1, (words, group + 1 - first, lanes))
        b = rng.integers(LOW, HIGH + 1, (words, lanes)) >> rng.integers(0, 24)
        yield x >> rng.integers(0, 24), b if k % 4 else None, first


def words_of(x, biases, first, argument):
    n, group, _ = x.shape
    for index in range(n):
        for t in range(group):
            yield {
                "data": x[index, t].tolist(),
                "token": first + t,
                "index": index,
                "argument": argument,
                "last": int((index, t) == (n - 1, group - 1)),
                "kind": argument % 8,
                "bias": int(biases is not None),
                "last_token": int(t == group - 1),
            }


def case(lanes, tokens, seed):
    """The words, the words of biases, and what shall come."""
    inputs, tape, expected = [], [], []
    for argument, (x, biases, first) in enumerate(operations(lanes, tokens, seed)):
        inputs += words_of(x, biases, first, argument)
        y = x
        if biases is not None:
            tape += biases.tolist()
            y = bias(x, biases[:, None])
        expected += words_of(y, biases, first, argument)
    for word in expected:
        del word["bias"], word["last_token"]
    return inputs, tape, expected


@pytest.mark.parametrize(("lanes", "tokens"), [(4, 1), (8, 3), (3, 4)])
def test_matches_reference(lanes, tokens):
    inputs, tape, expected = case(lanes, tokens, seed=lanes)
    assert {LOW, HIGH} <= {v for word in expected for v in word["data"]}
    streams = {"i": inputs, "biases": tape}
    cases = [
        {"inputs": streams, "counts": len(expected), "stall": stall, "seed": 2}
        for stall in (0.0, 0.5)
    ]
    results = bench.run_many(Bias(lanes, tokens, kind=unsigned(3)), cases)
    for result in results:
        assert result.outputs["o"] == expected
    fast = results[0]
    assert fast.stream_cycles["i"] == [*range(len(inputs))]
    assert fast.stream_cycles["o"] == [*range(1, len(inputs) + 1)]


def test_words_without_biases_do_not_wait_for_them():
    x = np.arange(6).reshape(3, 1, 2)
    inputs = [dict(word) for word in words_of(x, None, 0, 1)]
    result = bench.run(Bias(2, kind=unsigned(3)), {"i": inputs, "biases": []}, 3)
    assert [word["data"] for word in result.outputs["o"]] == x[:, 0].tolist()


def test_reference_is_exact():
    rng = np.random.default_rng(1)
    x, b = rng.integers(LOW, HIGH + 1, (2, 999))
    exact = [min(max(Fraction(int(p)) + int(q), LOW), HIGH) for p, q in zip(x, b, strict=True)]
    assert bias(x, b).tolist() == exact


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "lanes must be from 1 to 64, not 0"),
        ((2, 65), "tokens must be from 1 to 64, not 65"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Bias(*arguments)
