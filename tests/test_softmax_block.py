import numpy as np
import pytest
from celosia.reference.arithmetic import saturate
from celosia.reference.units.softmax import EMPTY, empty, softmax_block
from celosia.reference.view import View, slot_positions
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
    scores = saturate(word["data"].astype(np.int64) << (8 - fraction), width + 8 - fraction)
    power, exponent = softmax_block(scores, valid, width - fraction)
    return word | {"data": power.tolist(), "exponent": int(exponent)}


@pytest.mark.parametrize(
    ("lanes", "tokens"), [(8, 4), pytest.param(16, 3, marks=pytest.mark.slow), (2, 1)]
)
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
    words = (position + 1) // lanes + 3  # some of them beyond what is seen
    component = SoftmaxBlock(lanes, 2, fraction, width, most_words=words)
    result = bench.run(component, inputs, settings={"position": position}, stall=0.3, seed=1)
    assert result.outputs["o"] == y
    exponents = [word["exponent"] for word in y]
    assert max(exponents) == 1 << (width - fraction - 1)
    assert min(exponents) == empty(width - fraction)


def seen_by(t, view):
    """``seen_layout`` of the token at ``t``."""
    if not view.wraps:
        return {"slot": t, "oldest": 0, "wrapped": 0}
    first = max(0, t + 1 - view.window)
    slot, oldest = t % view.slots, first % view.slots
    return {"slot": slot, "oldest": oldest, "wrapped": int(oldest > slot)}


@pytest.mark.parametrize(
    ("lanes", "tokens", "views"),
    [
        (4, 4, (View(12, 9),)),  # the least slots
        (2, 3, (View(8, 5), View(40), View(6, 1))),
        pytest.param(16, 1, (View(40), View(16, 16)), marks=pytest.mark.slow),
    ],
)
def test_sees_windows(lanes, tokens, views):
    cases, y = [], []
    several = len(views) > 1
    for position in (0, 3, 7, 11, 12, 13, 22, 35):
        scores, chooser = [*blocks(lanes, position)], np.random.default_rng(position)
        inputs, outputs = [], []
        for number, view in enumerate(views):
            n_words = -(-view.slots // lanes)
            for index in range(n_words):
                for token in range(tokens):
                    data = scores[int(chooser.integers(len(scores)))]
                    last = (index, token) == (n_words - 1, tokens - 1)
                    word = {"data": data, "token": token, "index": index, "argument": 1}
                    word |= {"last": int(last)}
                    held = slot_positions(position + token, view)
                    held = np.pad(held, (0, -view.slots % lanes), constant_values=-1)
                    valid = held.reshape(-1, lanes)[index] >= 0
                    power, exponent = softmax_block(saturate(data, 16), valid)
                    outputs.append(word | {"data": power.tolist(), "exponent": int(exponent)})
                    inputs.append(word | ({"view": number} if several else {}))
        seen = [[seen_by(position + token, view) for token in range(tokens)] for view in views]
        y.append(outputs)
        for stall in (0.0, 0.5):
            cases.append({"inputs": inputs, "settings": {"seen": seen}, "stall": stall, "seed": 4})
    words = max(-(-view.slots // lanes) for view in views)
    results = bench.run_many(SoftmaxBlock(lanes, tokens, views=views, most_words=words), cases)
    for n, result in enumerate(results):
        assert result.outputs["o"] == y[n // 2]
    assert {EMPTY} < {word["exponent"] for words in y for word in words}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 1, 9, 24), "fraction must be from 0 to 8, not 9"),
        ((8, 1, 8, 15), "width must be from 16 to 24, not 15"),
        ((8, 1, 8, 16, (), 0), "most_words must be from 1 to 1048576, not 0"),
        ((12,), "lanes must be a power of two from 1 to 64, not 12"),
        ((8, 0), "tokens must be from 1 to 64, not 0"),
        ((8, 1, 8, 16, (View(12, 4),)), r"slots must be a multiple of lanes \(8\), not 12"),
        ((4, 4, 8, 16, (View(8, 6),)), r"slots must be at least window \+ tokens - 1 \(9\), not 8"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxBlock(*arguments)
