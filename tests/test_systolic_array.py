import runpy
from pathlib import Path

import numpy as np
import pytest
from celosia.reference.units.systolic_array import matmul, packed_products
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.output_stationary import OutputStationary
from celosia.rtl.mac.weight_stationary import WeightStationary
from celosia.sim import bench

FORMS = [
    (3, 4, MacFormat()),
    (5, 4, MacFormat(8, 4, packing="18x18")),
    (2, 2, MacFormat(8, 8, packing="25x18")),
    (4, 3, MacFormat(8, 2, ternary=True)),
    (2, 3, MacFormat(4, 2)),
]


def draw(rng, width, shape):
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    x = rng.integers(low, high + 1, shape)
    return np.where(rng.random(shape) < 0.3, rng.choice([low, high, 0, -1], shape), x)


@pytest.mark.parametrize(("a_width", "w_width"), [(8, 4), (4, 4), (8, 2), (4, 2), (8, 8), (4, 8)])
def test_packed_products_are_exact(a_width, w_width):
    a = np.arange(-(1 << (a_width - 1)), 1 << (a_width - 1))
    w = np.arange(-(1 << (w_width - 1)), 1 << (w_width - 1))
    a, w0, w1 = a[:, None, None], w[:, None], w
    low, high = packed_products(a, (w0, w1), a_width + w_width)
    assert (low == a * w0).all()
    assert (high == a * w1).all()


def tiles(rows, cols, form, seed):
    """Activations int[m, k] and weights int[k, cols] of tiles in many shapes."""
    rng = np.random.default_rng(seed)
    for n in range(14):
        k = rows if n % 3 else int(rng.integers(1, rows + 1))
        m = int(rng.integers(1, 2 * rows + 2)) if n % 2 else rows
        yield draw(rng, form.activation_width, (m, k)), draw(rng, form.weight_width, (k, cols))


def framed(x):
    return [{"data": row.tolist(), "last": int(n == len(x) - 1)} for n, row in enumerate(x)]


def padded(a, rows, rng):
    """Activations of all rows: anything where there are no weights."""
    return np.concatenate([a, rng.integers(-8, 8, (len(a), rows - a.shape[1]))], axis=1)


@pytest.mark.parametrize(("rows", "cols", "form"), FORMS)
def test_weight_stationary_matches_reference(rows, cols, form):
    rng = np.random.default_rng(7)
    weights, i, o = [], [], []
    for a, b in tiles(rows, cols, form, seed=rows):
        weights += framed(b)
        i += framed(padded(a, rows, rng))
        o += framed(matmul(a, b, form.ternary))
    case = {"inputs": {"weights": weights, "i": i}, "counts": len(i), "seed": 5}
    unit = WeightStationary(rows, cols, form)
    for result in bench.run_many(unit, [{**case, "stall": stall} for stall in (0.0, 0.5)]):
        assert result.outputs["o"] == o
        assert result.signals["error"] == 0


def wrapped(x, width):
    return (x + (1 << (width - 1))) % (1 << width) - (1 << (width - 1))


@pytest.mark.parametrize(
    ("rows", "cols", "form", "acc_width"),
    [(*FORMS[0], 24), (*FORMS[1], 24), (*FORMS[3], 24), (1, 2, MacFormat(), 16)],
)
def test_output_stationary_matches_reference(rows, cols, form, acc_width):
    rng = np.random.default_rng(3)
    i, o = [], []
    for n in range(28):
        k, m = int(rng.integers(1, 5 * rows)), int(rng.integers(1, rows + 1)) if n % 2 else rows
        a, b = draw(rng, form.activation_width, (m, k)), draw(rng, form.weight_width, (k, cols))
        i += beats(a, b, rows)
        o += framed(wrapped(matmul(a, b, form.ternary), acc_width))
    case = {"inputs": i, "counts": len(o), "seed": 5}
    unit = OutputStationary(rows, cols, form, acc_width)
    for result in bench.run_many(unit, [{**case, "stall": stall} for stall in (0.0, 0.5)]):
        assert result.outputs["o"] == o


def test_output_stationary_sums_the_largest_products():
    rows, cols, form = FORMS[0]
    unit, i, o = OutputStationary(rows, cols, form), [], []
    for k in range(1, 4 * rows):
        for low in (-128, 127):
            a, b = np.full((rows, k), low), np.full((k, cols), -128)
            i += beats(a, b, rows)
            o += framed(matmul(a, b))
    assert bench.run(unit, i, len(o)).outputs["o"] == o


def beats(a, b, rows):
    """Columns of a, and anything in rows that it does not have; rows of b."""
    columns, last = np.full((len(b), rows), -3, np.int64), len(b) - 1
    columns[:, : len(a)] = a.T
    return [
        {
            "activations": x.tolist(),
            "weights": w.tolist(),
            "last": int(n == last),
            "rows": len(a),
        }
        for n, (x, w) in enumerate(zip(columns, b, strict=True))
    ]


def test_tiles_follow_each_other_without_a_gap():
    rows, cols, form = FORMS[0]
    rng, n = np.random.default_rng(0), 9
    weights = [word for _ in range(n) for word in framed(draw(rng, 8, (rows, cols)))]
    i = [word for _ in range(n) for word in framed(draw(rng, 8, (rows, rows)))]
    unit = WeightStationary(rows, cols, form)
    result = bench.run(unit, {"weights": weights, "i": i}, len(i))
    assert result.stream_cycles["i"] == [*range(rows, rows + len(i))]
    start = rows + unit.latency
    assert result.stream_cycles["o"] == [*range(start, start + len(i))]

    # Two rows take two cycles to load, and two beats two cycles to leave.
    weights = [word for _ in range(n) for word in framed(draw(rng, 8, (2, cols)))]
    i = [word for _ in range(n) for word in framed(draw(rng, 8, (2, rows)))]
    result = bench.run(unit, {"weights": weights, "i": i}, len(i))
    assert result.stream_cycles["i"] == [*range(2, 2 + len(i))]

    unit = OutputStationary(rows, cols, form, acc_width=24)
    for m in (rows, 2):
        a, b = draw(rng, 8, (m, m)), draw(rng, 8, (m, cols))
        result = bench.run(unit, beats(a, b, rows) * n, m * n)
        assert result.stream_cycles["i"] == [*range(m * n)]
        start = m - 1 + unit.latency
        assert result.stream_cycles["o"] == [*range(start, start + m * n)]


def test_too_many_rows_are_reported():
    rows, cols, form = FORMS[0]
    b = np.arange((rows + 1) * cols).reshape(rows + 1, cols)
    a = np.eye(rows, dtype=int)
    inputs = {"weights": framed(b), "i": framed(a) * 2}
    result = bench.run(WeightStationary(rows, cols, form), inputs, 2 * rows)
    assert result.signals["error"] == 1
    assert [w["data"] for w in result.outputs["o"]] == [*b.tolist(), [0] * cols, [0] * cols]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((6,), "activation_width must be 4 or 8, not 6"),
        ((8, 9), "weight_width must be from 2 to 8, not 9"),
        ((8, 4, True), "weight_width must be 2 if ternary, not 4"),
        ((8, 8, False, "9x9"), "packing must be one of none, 18x18, 25x18, not '9x9'"),
        ((8, 8, False, "18x18"), "packing must have 25 bits for two products, not 18x18"),
        ((8, 2, True, "18x18"), "packing must be none if ternary: there are no multipliers"),
    ],
)
def test_bad_forms(arguments, message):
    with pytest.raises(ValueError, match=message):
        MacFormat(*arguments)


@pytest.mark.parametrize("array", [WeightStationary, OutputStationary])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, MacFormat()), "rows must be from 1 to 64, not 0"),
        ((1, 65, MacFormat()), "cols must be from 1 to 64, not 65"),
        ((1, 1, 8), "form must be a MacFormat, not 8"),
        ((2, 3, MacFormat(8, 4, packing="18x18")), "cols must be a multiple of 2, not 3"),
    ],
)
def test_bad_parameters(array, arguments, message):
    with pytest.raises(ValueError, match=message):
        array(*arguments)


def test_bad_acc_width():
    with pytest.raises(ValueError, match="acc_width must be from 16 to 48, not 15"):
        OutputStationary(2, 2, MacFormat(), 15)


@pytest.mark.slow
def test_an_aligned_matrix_product_keeps_the_multipliers_busy(capsys):
    path = Path(__file__).parents[1] / "bench" / "systolic.py"
    use = runpy.run_path(str(path))["main"](["--size", "64"])
    assert use.keys() == {"WeightStationary", "OutputStationary"}
    assert min(use.values()) >= 0.99
    assert "99." in capsys.readouterr().out


def test_example(capsys):
    path = Path(__file__).parents[1] / "examples" / "components" / "systolic_array.py"
    runpy.run_path(str(path))
    assert "[[19, 22], [43, 50]]" in capsys.readouterr().out
