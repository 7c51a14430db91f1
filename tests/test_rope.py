import numpy as np
import pytest
from celosia.reference.functions.functions import sine_cosine
from celosia.reference.units.rope import rope
from celosia.rtl.attention.rope import Rope
from celosia.rtl.attention.rope_angles import RopeAngles
from celosia.rtl.attention.steady_rope import SteadyRope
from celosia.sim import bench
from framing import frame

EDGES = [0, 1, -1, (1 << 17) - 1, 1 << 17, -(1 << 17), -(1 << 17) - 1, (1 << 23) - 1, -(1 << 23)]


def increments_of(pairs):
    return [round(2**32 / (2 * np.pi) * 1e4 ** (-i / pairs)) for i in range(pairs)]


def angles(position, n, increments, size):
    """Sine and cosine int[n, size / 2], padded as the integer model pads them."""
    pad = ((0, 0), (0, size // 2 - len(increments)))
    return [np.pad(t, pad) for t in sine_cosine(range(position, position + n), increments)]


def operation(seed, lanes, head_words, heads, n):
    chooser = np.random.default_rng(seed)
    size = heads * head_words * n * lanes
    x = chooser.integers(-1 << 23, 1 << 23, size) >> chooser.integers(4, 23, size)
    places = chooser.choice(size, size // 4, replace=False)
    x[places] = chooser.choice(EDGES, len(places))
    return x.reshape(heads * head_words, n, lanes)


def rotated(x, position, increments, head_words):
    words, n, lanes = x.shape
    heads = (
        x.reshape(-1, head_words, n, lanes).transpose(2, 0, 1, 3).reshape(n, -1, head_words * lanes)
    )
    sine, cosine = angles(position, n, increments, head_words * lanes)
    y = rope(heads, sine[:, None], cosine[:, None])
    return y.reshape(n, words, lanes).transpose(1, 0, 2)


def test_halves_are_the_pairs_in_another_order():
    x = operation(3, 8, 1, 2, 5)
    sine, cosine = (t[None] for t in angles(7, 5, increments_of(4), 8))
    order = np.arange(8).reshape(2, 4).T.reshape(-1)  # 0, 4, 1, 5, ...
    y = rope(x, sine, cosine, halves=True)
    np.testing.assert_array_equal(y[..., order], rope(x[..., order], sine, cosine))


@pytest.mark.parametrize(("lanes", "head_words", "tokens", "missing"), [(8, 1, 1, 0), (4, 3, 3, 1)])
def test_matches_reference(lanes, head_words, tokens, missing):
    increments = increments_of(head_words * lanes // 2 - missing)
    unit = Rope(lanes, head_words, [increments], tokens)
    cases, expected = [], []
    for seed, (position, n) in enumerate([(0, 1), (1, tokens), ((1 << 20) - tokens, tokens)]):
        operations = [operation(9 * seed + k, lanes, head_words, k + 1, n) for k in range(4)]
        words = [word for k, x in enumerate(operations) for word in frame(x, k)]
        y = [rotated(x, position, increments, head_words) for x in operations]
        expected += [[word for k, x in enumerate(y) for word in frame(x, k)]] * 2
        inputs = {"i": words, "positions": [{"position": position, "tokens": n}]}
        common = {"inputs": inputs, "counts": len(words), "seed": seed}
        cases += [{**common, "stall": stall} for stall in (0.0, 0.5)]
    results = bench.run_many(unit, cases)
    assert [r.outputs["o"] for r in results] == expected
    n, words = tokens, len(expected[2])
    assert results[2].first_cycle["i"] == head_words * lanes * n + 14
    assert results[2].first_cycle["o"] == results[2].first_cycle["i"] + 4
    assert results[2].last_cycle["o"] == results[2].first_cycle["o"] + words - 1


def test_steady_matches_reference():
    """Also when its results are hardly taken: more words than its queue holds are on their way."""
    increments = increments_of(2)
    x, y = [], []
    for position in (0, (1 << 20) - 2):
        x.append(operation(position, 4, 1, 20, 2))
        y.append(frame(rotated(x[-1], position, increments, 1)))
    positions = [{"position": p, "tokens": 2} for p in (0, (1 << 20) - 2)]
    cases = [
        {
            "inputs": {"i": frame(words), "positions": [position]},
            "counts": 40,
            "stall": stall,
            "seed": 2,
        }
        for words, position in zip(x, positions, strict=True)
        for stall in (0.0, 0.5, 0.9)
    ]
    results = bench.run_many(SteadyRope(Rope(4, 1, [increments], 2)), cases)
    assert [r.outputs["o"] for r in results] == [words for words in y for _ in range(3)]
    begin = results[0].first_cycle["i"]
    assert results[0].stream_cycles["i"] == [*range(begin, begin + 40)]
    assert results[0].stream_cycles["o"] == [*range(begin + 5, begin + 45)]


def test_words_behind_a_new_position_wait_for_its_table():
    increments = increments_of(5)
    x = operation(1, 4, 3, 3, 2)
    first, second = ({"position": p, "tokens": n} for p, n in ((7, 1), (300, 2)))
    inputs = {"i": frame(x), "positions": [first, second]}
    result = bench.run(Rope(4, 3, [increments], 3), inputs, {"o": 18})
    assert result.stream_cycles["positions"] == [0, 26]
    assert result.first_cycle["i"] == 26 + 3 * 4 * 2 + 14
    assert result.outputs["o"] == frame(rotated(x, 300, increments, 3))


def test_angles():
    increments = [*increments_of(6), (1 << 32) - 1, 0, 1 << 31]
    unit = RopeAngles(8, 3, [increments], 4)
    positions, expected = [(0, 1), (5, 4), ((1 << 20) - 2, 2)], []
    for position, n in positions:
        table = np.stack(angles(position, n, increments, 24), axis=-1).reshape(n, 3, 8)
        expected += [
            {
                "data": table[t, w].tolist(),
                "place": w,
                "token": t,
                "last": int((t, w) == (n - 1, 2)),
            }
            for t in range(n)
            for w in range(3)
        ]
    result = bench.run(unit, [{"position": p, "tokens": n} for p, n in positions], len(expected))
    assert result.outputs["o"] == expected
    assert result.stream_cycles["o"][:4] == [21, 29, 37, 37 + 14 + 8]


SETS = {
    "bases": [increments_of(6), [3 * n for n in increments_of(6)]],
    "no_position": [[0] * 5, increments_of(5)],  # and a pair without increments
    "partial": [[7, 0, 9, 0, 0, 0], [5, 0, 0, 0, 0, 0]],
    "one_partial": [[1 << 30, 5, 0, 0]],
    "none_turns": [[0] * 6],
}


@pytest.mark.parametrize(("name", "tokens"), [(n, 3 if n == "no_position" else 1) for n in SETS])
def test_sets_of_increments(name, tokens):
    sets, lanes, head_words = SETS[name], 4, 3
    places = [
        (number, word)
        for number, some in enumerate(sets)
        for word in range(head_words)
        if any(some[2 * word : 2 * word + 2])
    ]
    cases, expected = [], []
    for position in (0, 9, (1 << 20) - tokens):
        words, y = [], []
        for k in (0, 1, 1, 0):
            number = k % len(sets)
            x = operation(position + k, lanes, head_words, 2, tokens)
            more = {"angles": number} if len(sets) > 1 else {}
            words += [word | more for word in frame(x, k)]
            y += frame(rotated(x, position, sets[number], head_words), k)
        inputs = {"i": words, "positions": [{"position": position, "tokens": tokens}]}
        for stall in (0.0, 0.5):
            cases.append({"inputs": inputs, "counts": len(words), "stall": stall, "seed": 7})
            expected.append(y)
    results = bench.run_many(Rope(lanes, head_words, sets, tokens), cases)
    assert [r.outputs["o"] for r in results] == expected
    assert results[0].first_cycle["i"] == max(len(places), 1) * lanes * tokens + 14


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lanes": 6}, "lanes must be a power of two from 2 to 64, not 6"),
        ({"head_words": 0}, "head_words must be from 1 to 256, not 0"),
        ({"increments": []}, "increments must be of 1 to 16 sets, not 0"),
        ({"increments": [[]]}, "increments must be from 1 to 4 numbers, not 0"),
        ({"increments": [[1] * 5]}, "increments must be from 1 to 4 numbers, not 5"),
        ({"increments": [[1], [1, 2]]}, "as many in each set: one has 1, another 2"),
        (
            {"increments": [[1], [1 << 32]]},
            r"increments must be from 0 to 2\*\*32 - 1, not 4294967296",
        ),
        ({"tokens": 65}, "tokens must be from 1 to 64, not 65"),
    ],
)
@pytest.mark.parametrize("unit", [Rope, RopeAngles])
def test_parameters_out_of_range(unit, changes, message):
    with pytest.raises(ValueError, match=message):
        unit(**{"lanes": 4, "head_words": 2, "increments": [[1, 2]], "tokens": 1} | changes)
