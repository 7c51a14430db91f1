import random

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from celosia.rtl.memory.tape import Tape
from celosia.sim import bench


def runs(n_words, seed):
    """The whole tape, its ends, and random pieces, single words among them."""
    rng = random.Random(seed)
    yield 0, n_words
    yield 0, 1
    yield n_words - 1, 1
    for _ in range(20):
        address = rng.randrange(n_words)
        yield address, rng.choice([1, 1, 2, rng.randint(1, n_words - address)])


def cases(words, pieces, stalls):
    pieces = [(address, min(count, len(words) - address)) for address, count in pieces]
    expected = [word for address, count in pieces for word in words[address : address + count]]
    inputs = [{"address": address, "count": count} for address, count in pieces]
    case = {"inputs": inputs, "counts": len(expected), "seed": 3}
    return expected, [case | {"stall": stall} for stall in stalls]


@pytest.mark.parametrize("n_words", [1, 37])
def test_delivers_each_run(n_words):
    words = random.Random(1).sample(range(1 << 16), n_words)
    expected, stalled = cases(words, runs(n_words, seed=2), (0.0, 0.5, 0.8))
    results = bench.run_many(Tape(unsigned(16), words), stalled)
    assert [result.outputs["o"] for result in results] == [expected] * 3
    assert results[0].stream_cycles["o"] == [*range(2, len(expected) + 2)]


def test_words_of_any_shape():
    rng = random.Random(4)
    words = [[[rng.randrange(-8, 8) for _ in range(3)] for _ in range(2)] for _ in range(9)]
    shape = data.ArrayLayout(data.ArrayLayout(signed(4), 3), 2)
    expected, stalled = cases(words, [(0, 9), (4, 5)], (0.5,))
    assert bench.run_many(Tape(shape, words), stalled)[0].outputs["o"] == expected


@pytest.mark.parametrize("n_words", [0, (1 << 28) + 1])
def test_bad_number_of_words(n_words):
    message = rf"len\(words\) must be from 1 to 268435456, not {n_words}"
    with pytest.raises(ValueError, match=message):
        Tape(unsigned(8), range(n_words))
