import runpy
from pathlib import Path

import numpy as np
import pytest
from celosia.reference.units.hadamard import core, cores, hadamard, hadamard_matrix
from celosia.rtl.quantize.hadamard import Hadamard
from celosia.rtl.quantize.hadamard_stages import Butterfly, Core
from celosia.sim import bench
from framing import data_of

SIZES = [(576, 8), (1536, 16), (960, 4), (64, 8), (12, 1), (2, 2)]


@pytest.mark.parametrize("order", [1, *cores()])
def test_cores_are_symmetric_hadamard_matrices(order):
    h = core(order)
    assert set(h.flat) <= {1, -1}
    np.testing.assert_array_equal(h, h.T)
    np.testing.assert_array_equal(h @ h, order * np.eye(order))


@pytest.mark.parametrize(("n", "lanes"), SIZES)
def test_reference_is_exact_and_its_own_inverse(n, lanes):
    h = hadamard_matrix(n, lanes).astype(float)
    np.testing.assert_array_equal(h @ h, n * np.eye(n))
    x = np.random.default_rng(n).integers(-1 << 15, 1 << 15, (3, n))
    exact = x @ h / np.sqrt(n)
    y = hadamard(x, lanes)
    assert (np.abs(y - exact) <= 0.5 + np.abs(exact) * 2.0**-17).all()
    assert np.abs(hadamard(y, lanes) - x).max() <= 3
    assert hadamard(h[0].astype(int) * 8000, lanes, 14).max() == 8191


def test_powers_of_two_do_not_depend_on_the_lanes():
    np.testing.assert_array_equal(hadamard_matrix(64, 1), hadamard_matrix(64, 16))


def vectors(n, lanes, width, seed):
    """Vectors int[k, n]: random ones, the extremes, and those that overflow one result."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    h = hadamard_matrix(n, lanes)
    row = rng.integers(n)
    edges = [np.zeros(n), np.full(n, low), np.where(h[row] > 0, high, low), -h[row] * high]
    return np.array([*edges, *rng.integers(low, high + 1, (3, n))], np.int64)


def words_of(x, lanes, tokens):
    """Words of one vector after the other; the operations are of two vectors each."""
    return [
        {
            "data": word.tolist(),
            "token": k % tokens,
            "index": index,
            "argument": 7 * k,
            "last": int(k % 2 and index == x.shape[1] // lanes - 1),
        }
        for k, vector in enumerate(x)
        for index, word in enumerate(vector.reshape(-1, lanes))
    ]


@pytest.mark.parametrize(
    ("n", "lanes", "width", "o_width", "tokens"),
    [
        (96, 8, 16, 16, 2),
        (24, 2, 8, 10, 1),
        (64, 1, 12, 12, 1),
        (8, 8, 24, 20, 3),
        (32, 2, 4, 4, 1),
    ],
)
def test_matches_reference(n, lanes, width, o_width, tokens):
    x = vectors(n, lanes, width, seed=n)
    expected = words_of(hadamard(x, lanes, o_width), lanes, tokens)
    unit = Hadamard(n, lanes, width, o_width, tokens)
    inputs = words_of(x, lanes, tokens)
    cases = [{"inputs": inputs, "stall": stall, "seed": n} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(unit, cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    count = len(inputs)
    assert smooth.stream_cycles["i"] == [*range(count)]
    assert smooth.stream_cycles["o"] == [*range(unit.latency, unit.latency + count)]
    assert smooth.signals["error"] == 0


def test_broken_vectors_are_reported_and_the_next_ones_right():
    x = vectors(24, 2, 8, seed=1)[4:]
    words = words_of(x, 2, 1)
    short = [*words[:7], *words[12:]]
    long = [*words[:12], {**words[11], "index": 12}, *words[12:]]
    late = words[5:]
    cut = [{**word, "last": int(k == 3)} for k, word in enumerate(words) if k not in range(4, 12)]
    cases = [
        {"inputs": w, "counts": n} for w, n in ((short, 36), (long, 36), (late, 24), (cut, 36))
    ]
    for case in list(cases):
        cases.append({**case, "stall": 0.5})
    y = hadamard(x, 2, 10)[1:]
    for case, result in zip(cases, bench.run_many(Hadamard(24, 2, 8, 10), cases), strict=True):
        assert result.signals["error"] == 1
        output = result.outputs["o"]
        np.testing.assert_array_equal(data_of(output[-24:], (2, 24)), y)
        assert [w["index"] for w in output] == [*range(12)] * (len(output) // 12)
        if case["inputs"] is cut:
            assert output[11]["last"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1, 8), "n must be from 2 to 32768, not 1"),
        ((64, 3, 8), "lanes must be a power of two from 1 to 64, not 3"),
        ((64, 8, 3), "width must be from 4 to 24, not 3"),
        ((64, 8, 8, 25), "o_width must be from 4 to 24, not 25"),
        ((64, 8, 8, 8, 0), "tokens must be from 1 to 64, not 0"),
        ((11 * 64, 8, 8), r"n must be a power of two, or times a core of \[12, 20, .*\], not 704"),
        ((576, 32, 8), r"n must be a multiple of 36 \* lanes = 1152, not 576"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Hadamard(*arguments)


@pytest.mark.parametrize(
    ("unit", "arguments", "message"),
    [
        (Butterfly, (0, 8, 4), "lanes must be from 1 to 64, not 0"),
        (Butterfly, (1, 49, 4), "width must be from 2 to 48, not 49"),
        (Butterfly, (1, 8, 3), "distance must be from 4 to 32768, not 3"),
        (Core, (1, 8, [[1]]), r"len\(matrix\) must be from 2 to 256, not 1"),
        (Core, (1, 8, [[1, 1], [1, 2]]), "matrix must be 2 rows of as many 1 and -1"),
    ],
)
def test_bad_parameters_of_parts(unit, arguments, message):
    with pytest.raises(ValueError, match=message):
        unit(*arguments)


def test_sylvester_must_have_a_power_of_two():
    with pytest.raises(ValueError, match="lanes must be a power of two, not 3"):
        hadamard(np.zeros(24), 3)


def test_example(capsys):
    path = Path(__file__).parents[1] / "examples" / "components" / "hadamard.py"
    runpy.run_path(str(path))
    assert "0, 98, 0" in capsys.readouterr().out
