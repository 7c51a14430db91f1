import numpy as np
import pytest
from celosia.reference.units.sampler import Sampler as ReferenceSampler
from celosia.rtl.token.sampler import Sampler
from celosia.sim import bench


def operations(vocab_size, seed, n=12):
    """Logits int24[vocab_size]: extremes, ties, close neighbours and random ones."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << 23), (1 << 23) - 1
    yield np.full(vocab_size, low)
    yield np.full(vocab_size, high)
    yield rng.choice([low, high], vocab_size)
    for _ in range(n - 3):
        scale = int(rng.integers(1, 24))
        yield rng.integers(-(1 << scale - 1), 1 << scale - 1, vocab_size)


def payloads(logits, lanes):
    """An operation's words; the lanes beyond the vocabulary hold what would win."""
    words = -(-len(logits) // lanes)
    padded = np.full(words * lanes, (1 << 23) - 1)
    padded[: len(logits)] = logits
    for index in range(words):
        data = padded[index * lanes :][:lanes]
        frame = {"token": index % 2, "index": index, "argument": 0}
        yield {"data": data, **frame, "last": index == words - 1}


def expected(vectors, lanes, fraction, temperature, seed=0):
    reference = ReferenceSampler(lanes, fraction, temperature, seed)
    for logits in vectors:
        token = reference(logits)
        yield {"token": token, "logit": int(logits[token])}


@pytest.mark.parametrize(
    ("lanes", "vocab_size", "fraction", "at_once"),
    [
        pytest.param(8, 61, 12, 8, marks=pytest.mark.slow),
        pytest.param(8, 61, 12, 2, marks=pytest.mark.slow),
        (2, 10, 19, 2),
        (1, 5, 11, 1),
        (4, 30, 5, 2),
        (2, 9, 0, 1),
    ],
)
def test_matches_reference(lanes, vocab_size, fraction, at_once):
    vectors = [*operations(vocab_size, seed=lanes, n=20)]
    inputs = [word for logits in vectors for word in payloads(logits, lanes)]
    cases, y = [], []
    for temperature, stall in [(0, 0.0), (0, 0.5), (1, 0.0), (256, 0.5), (4095, 0.0), (4095, 0.5)]:
        settings = {"temperature": temperature}
        case = {"inputs": {"i": inputs}, "counts": len(vectors), "settings": settings}
        cases.append(case | {"stall": stall, "seed": 1})
        y.append([*expected(vectors, lanes, fraction, temperature)])
    component = Sampler(lanes, vocab_size, fraction, at_once)
    results = bench.run_many(component, cases)
    assert y[0] != y[4]
    for result, tokens in zip(results, y, strict=True):
        assert result.outputs["o"] == tokens
    free = results[0].stream_cycles
    each = lanes // at_once
    assert free["i"] == [*range(each - 1, each * len(inputs), each)]
    words = -(-vocab_size // lanes)
    begins = range(words - 1, len(inputs), words)  # of each operation's last word
    ends = [each * begin + component.latency for begin in begins]
    assert free["o"] == ends


def test_seeds_come_between_operations():
    lanes, vocab_size = 4, 30
    words = -(-vocab_size // lanes)
    salt = 2 * 0x9E3779B1 & 0xFFFFFFFF  # leaves lane 1 with a zero, in place of which 1 counts
    vectors = [*operations(vocab_size, seed=7, n=60)]
    inputs = {"i": [word for v in vectors for word in payloads(v, lanes)]}
    inputs["seed"] = [1, 0xFFFFFFFF, salt, 77, 0, 12345] * 5
    settings = {"temperature": 300}
    case = {"inputs": inputs, "counts": len(vectors), "settings": settings}
    component = Sampler(lanes, vocab_size)
    results = bench.run_many(component, [case | {"stall": s, "seed": 2} for s in (0.5, 0.8, 0.0)])
    for result in results:
        taken, seeded = result.stream_cycles["i"], result.stream_cycles["seed"]
        seeds = dict(zip(seeded, inputs["seed"], strict=True))
        reference, y, used = ReferenceSampler(lanes, 12, 300), [], 0
        for n, logits in enumerate(vectors):
            begin, end = taken[n * words], taken[n * words + words - 1]
            assert not any(begin <= cycle <= end for cycle in seeded)
            earlier = [cycle for cycle in seeded if cycle < begin]
            if len(earlier) > used:
                used = len(earlier)
                reference = ReferenceSampler(lanes, 12, 300, seeds[earlier[-1]])
            token = reference(logits)
            y.append({"token": token, "logit": int(logits[token])})
        assert result.outputs["o"] == y
        assert used > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((12, 100), "lanes must be a power of two from 1 to 64, not 12"),
        ((8, 0), "vocab_size must be from 1 to 1048576, not 0"),
        ((8, 100, 20), "fraction must be from 0 to 19, not 20"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sampler(*arguments)
