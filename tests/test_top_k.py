import numpy as np
import pytest
from celosia.reference.units.top_k import TopKSampler as ReferenceSampler
from celosia.reference.units.top_k import top_k
from celosia.rtl.token.top_k import TopK, TopKSampler
from celosia.sim import bench
from test_sampler import operations, payloads

SHAPES = [(8, 5, 61), (1, 3, 7), (2, 8, 10), (4, 1, 4)]


def ranked(logits, k):
    tokens = top_k(logits, k)
    for rank, token in enumerate(tokens.tolist()):
        yield {
            "token": token,
            "logit": int(logits[token]),
            "rank": rank,
            "last": int(rank == k - 1),
        }


@pytest.mark.parametrize(("lanes", "k", "vocab_size"), SHAPES)
def test_matches_reference(lanes, k, vocab_size):
    vectors = [*operations(vocab_size, seed=k, n=16)]
    vectors += [np.sort(vectors[-1]), np.sort(vectors[-1])[::-1], np.arange(vocab_size) // 2]
    inputs = [word for logits in vectors for word in payloads(logits, lanes)]
    y = [entry for logits in vectors for entry in ranked(logits, k)]
    component = TopK(lanes, k, vocab_size)
    cases = [{"inputs": inputs, "counts": len(y), "stall": stall} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(component, cases)
    assert smooth.outputs["o"] == y
    assert stalled.outputs["o"] == y
    words = -(-vocab_size // lanes)
    made = smooth.stream_cycles["o"]
    assert smooth.stream_cycles["i"][:words] == [*range(words)]
    assert made[0] - (words - 1) == component.latency
    assert made[:k] == [made[0] + rank * (component.latency - 2) for rank in range(k)]


def test_reference_is_a_stable_sort():
    logits = np.random.default_rng(0).integers(-5, 5, 100)
    assert top_k(logits, 20).tolist() == sorted(range(100), key=lambda t: -logits[t])[:20]


def test_sampler_matches_reference():
    lanes, k, vocab_size = 4, 5, 30
    vectors = [*operations(vocab_size, seed=7, n=25)]
    inputs = [word for logits in vectors for word in payloads(logits, lanes)]
    component = TopKSampler(lanes, k, vocab_size)
    cases, y = [], []
    for temperature, stall in [(0, 0.0), (0, 0.5), (300, 0.0), (4095, 0.5), (4095, 0.0)]:
        reference = ReferenceSampler(k, 12, temperature)
        tokens = [reference(logits) for logits in vectors]
        pairs = zip(tokens, vectors, strict=True)
        y.append([{"token": token, "logit": int(logits[token])} for token, logits in pairs])
        case = {"inputs": {"i": inputs}, "counts": len(vectors), "stall": stall, "seed": 2}
        cases.append(case | {"settings": {"temperature": temperature}})
    results = bench.run_many(component, cases)
    for result, expected in zip(results, y, strict=True):
        assert result.outputs["o"] == expected
    assert y[0] == [{"token": int(v.argmax()), "logit": int(v.max())} for v in vectors]
    assert y[4] != y[0]
    words = -(-vocab_size // lanes)
    assert results[0].stream_cycles["o"][0] - (words - 1) == component.latency


def test_seed_sets_the_generator():
    vectors = [*operations(30, seed=7, n=25)]
    inputs = {"seed": [123], "i": [w for logits in vectors for w in payloads(logits, 4)]}
    reference = ReferenceSampler(5, 12, 4095, 123)
    tokens = [reference(logits) for logits in vectors]
    result = bench.run(
        TopKSampler(4, 5, 30), inputs, counts=len(vectors), settings={"temperature": 4095}
    )
    assert [answer["token"] for answer in result.outputs["o"]] == tokens


@pytest.mark.parametrize("component", [TopK, TopKSampler])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lanes", 3, "lanes must be a power of two from 1 to 64, not 3"),
        ("k", 0, "k must be from 1 to 64, not 0"),
        ("vocab_size", 3, "vocab_size must be from 4 to 1048576, not 3"),
    ],
)
def test_parameters_out_of_range(component, name, value, message):
    with pytest.raises(ValueError, match=message):
        component(**{"lanes": 2, "k": 4, "vocab_size": 9} | {name: value})


def test_fraction_out_of_range():
    with pytest.raises(ValueError, match="fraction must be from 0 to 19, not 20"):
        TopKSampler(2, 4, 9, fraction=20)
