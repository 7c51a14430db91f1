import numpy as np
import pytest
from celosia.reference.arithmetic import saturate
from celosia.reference.softmax import EMPTY, empty, softmax_block
from celosia.rtl.attention.softmax_block import SoftmaxBlock
from celosia.sim import bench


def blocks(lanes, seed):
    """Scores int24[lanes]: extremes, all fractions, random ones far apart and close together."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << 23), (1 << 23) - 1
    edges = [low, high, -32769, -32768, -32767, 32767, 32768, -257, -256, -1, 0, 1, 255, 256]
    for edge in edges:
        yield np.full(lanes, edge)
        yield rng.choice(edges, lanes)
    for fraction in range(0, 256, lanes):
        yield (fraction + np.arange(lanes)) - 256 * rng.integers(0, 3, lanes)
    for _ in range(150):
        yield rng.integers(low, high + 1, lanes) >> rng.integers(0, 24)


def operation(lanes, tokens, position, seed):
    """A score operation's words for ``tokens`` tokens from ``position``, and some words beyond."""
    scores = [*blocks(lanes, seed)]
    chooser = np.random.default_rng(seed)
    last = (position + tokens - 1) // lanes + 2
    for index in range(max(last - 60, 0), last + 1):
        for token in range(tokens):
            data = scores[int(chooser.integers(len(scores)))]
            frame = {"token": token, "index": index, "argument": index % 256}
            yield {"data": data, **frame, "last": (index, token) == (last, tokens - 1)}


def expected(word, position, lanes, fraction=8, width=16):
    places = word["index"] * lanes + np.arange(lanes)
    valid = places <= position + word["token"]
    scores = saturate(word["data"], width) << (8 - fraction)
    power, exponent = softmax_block(scores, valid, width - fraction)
    return word | {"data": power.tolist(), "exponent": int(exponent)}


@pytest.mark.parametrize(("lanes", "tokens"), [(8, 4), (16, 3), (2, 1)])
def test_matches_reference(lanes, tokens):
    cases, y = [], []
    for position in (0, 1, lanes - 1, lanes, 5 * lanes - 2, (1 << 20) - 3 * lanes):
        inputs = [*operation(lanes, tokens, position, seed=position)]
        y.append([expected(word, position, lanes) for word in inputs])
        for stall in (0.0, 0.5):
            settings = {"position": position}
            cases.append({"inputs": inputs, "settings": settings, "stall": stall, "seed": 4})
    inputs = [
        {"data": b, "token": 0, "index": 7, "argument": 0, "last": 1} for b in blocks(lanes, 9)
    ]
    position = 8 * lanes - 1
    y.append([expected(word, position, lanes) for word in inputs])
    cases += [{"inputs": inputs, "settings": {"position": position}, "stall": s} for s in (0, 0.5)]
    component = SoftmaxBlock(lanes, tokens)
    results = bench.run_many(component, cases)
    assert {EMPTY, -127, 128} <= {word["exponent"] for words in y for word in words}
    for n, result in enumerate(results):
        assert result.outputs["o"] == y[n // 2]
    assert results[-2].latency == component.latency
    assert results[-2].cycles == len(inputs) + component.latency


@pytest.mark.parametrize(("fraction", "width"), [(8, 17), (5, 19), (0, 24), (8, 24), (3, 16)])
def test_other_formats(fraction, width):
    lanes, position = 4, 61
    inputs = [*operation(lanes, 2, position, seed=width)]
    y = [expected(word, position, lanes, fraction, width) for word in inputs]
    component = SoftmaxBlock(lanes, 2, fraction, width)
    result = bench.run(component, inputs, settings={"position": position}, stall=0.3, seed=1)
    assert result.outputs["o"] == y
    exponents = [word["exponent"] for word in y]
    assert max(exponents) == 1 << (width - fraction - 1)
    assert min(exponents) == empty(width - fraction)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 1, 9, 24), "fraction must be from 0 to 8, not 9"),
        ((8, 1, 8, 15), "width must be from 16 to 24, not 15"),
        ((12,), "lanes must be a power of two from 1 to 64, not 12"),
        ((8, 0), "tokens must be from 1 to 64, not 0"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxBlock(*arguments)
