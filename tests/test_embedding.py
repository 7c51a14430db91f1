import numpy as np
import pytest
from celosia.reference.units.embedding import embedding
from celosia.rtl.token.embedding import Embedding
from framing import frame
from python_bench import watch


def table(vocab_size, dim, width, seed=0):
    chooser = np.random.default_rng(seed)
    half = 1 << (width - 1)
    return chooser.integers(-half, half, (vocab_size, dim)), chooser.integers(0, 65536, vocab_size)


@pytest.mark.parametrize(("lanes", "words", "vocab_size", "width"), [(4, 3, 7, 8), (1, 1, 1, 2)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_matches_reference(lanes, words, vocab_size, width, stall):
    rows, scales = table(vocab_size, lanes * words, width)
    tokens = np.random.default_rng(1).integers(0, vocab_size, 20)
    y, s = embedding(rows, scales, tokens)
    expected = [
        word
        for x, scale in zip(y, s, strict=True)
        for word in frame(x.reshape(-1, 1, lanes), scale=np.full((words, 1), scale))
    ]
    unit = Embedding(lanes, rows, scales, width)
    given = watch(unit, tokens.tolist(), stall, signals=["error"])
    assert given.words == expected
    assert given.signals == {"error": 0}
    if not stall:
        assert given.cycles == [*range(unit.latency, unit.latency + len(expected))]


def test_a_token_that_is_not_there_is_zero_and_reported():
    rows, scales = table(5, 4, 8)
    y, s = embedding(rows, scales, [4, 5, 1 << 19, 0])
    assert not y[1:3].any()
    assert s.tolist() == [scales[4], 0, 0, scales[0]]
    given = watch(Embedding(4, rows, scales), [4, 5, 1 << 19, 0], signals=["error"])
    assert [word["data"] for word in given.words] == y.tolist()
    assert [word["scale"] for word in given.words] == s.tolist()
    assert given.signals == {"error": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lanes": 3}, "lanes must be a power of two from 1 to 64, not 3"),
        ({"width": 17}, "width must be from 2 to 16, not 17"),
        ({"lanes": 8}, r"rows must have a multiple of 8 columns, not the shape \(5, 4\)"),
        ({"rows": np.full((5, 4), 128)}, "rows must be integers of 8 signed bits"),
        ({"scales": [1]}, r"scales must be 5 numbers, not of the shape \(1,\)"),
        ({"scales": [1 << 16] * 5}, "scales must be from 0 to 65535"),
        (
            {"rows": np.zeros((1 << 20) + 1, np.int8)[:, None], "lanes": 1},
            "vocab_size must be from 1 to 1048576, not 1048577",
        ),
    ],
)
def test_bad_parameters(changes, message):
    rows, scales = table(5, 4, 8)
    with pytest.raises(ValueError, match=message):
        Embedding(**{"lanes": 4, "rows": rows, "scales": scales} | changes)
