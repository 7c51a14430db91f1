import numpy as np
import pytest
from celosia.reference.units.quantizer import dequantize, dynamic_quantize, limits, static_quantize
from celosia.rtl.quantize.dequantizer import Dequantizer
from celosia.rtl.quantize.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.quantize.quantizer import StaticQuantizer
from celosia.sim import bench
from framing import frame
from python_bench import watch


def vectors(seed, n, size, width):
    """Vectors int[n, size] of every magnitude; the first ones are edges."""
    chooser = np.random.default_rng(seed)
    top = 1 << (width - 1)
    x = chooser.integers(-top, top, (n, size)) >> chooser.integers(0, width, (n, 1))
    x[1::5] = np.abs(x[1::5]) >> 1
    x[2::5] = -np.abs(x[2::5])
    for k, value in enumerate([0, 1, -1, -top, top - 1]):
        x[k] = np.where(chooser.random(size) < 0.4, value, 0)
    return x


def words_of(x, lanes, **more):
    """Each vector of ``x`` as an operation of framed words."""
    return [
        word
        for k, vector in enumerate(x)
        for word in frame(
            vector.reshape(-1, 1, lanes), k % 256, **{n: v[k] for n, v in more.items()}
        )
    ]


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_dynamic_reference_is_close_to_float(width, symmetric):
    x = vectors(1, 400, 24, 16)
    q, scale, zero_point = dynamic_quantize(x, width, symmetric)
    low, high = limits(width, symmetric)
    assert q.min() >= low
    assert q.max() <= high
    step = scale / 256
    steps = high if symmetric else high - low
    extent = np.abs(x).max(-1) if symmetric else x.max(-1, initial=0) - x.min(-1, initial=0)
    assert np.all(step >= np.minimum(extent / steps, step))
    assert np.all(step <= np.maximum(extent / steps * 1.0001 + 1 / 256, 1 / 256))
    error = np.abs((q - zero_point[:, None]) * step[:, None] - x)
    # half a step each for q and the zero point, and what the reciprocal's error adds at the ends
    bound = (0.5 if symmetric else 1.0) + steps * 6e-5 + 0.01
    assert np.all(error <= bound * step[:, None])


@pytest.mark.parametrize(
    ("lanes", "words", "width", "symmetric", "x_width"),
    [(4, 3, 8, True, 16), (2, 1, 4, False, 16), (8, 4, 8, False, 18), (1, 5, 4, True, 12)],
)
def test_dynamic_matches_reference(lanes, words, width, symmetric, x_width):
    component = DynamicQuantizer(lanes, words, x_width, width, symmetric)
    x = vectors(2, 60, lanes * words, x_width)
    q, scale, zero_point = dynamic_quantize(x, width, symmetric)
    more = {"scale": np.repeat(scale[:, None, None], words, 1)}
    if not symmetric:
        more["zero_point"] = np.repeat(zero_point[:, None, None], words, 1)
    inputs, expected = words_of(x, lanes), words_of(q, lanes, **more)
    cases = [{"inputs": inputs, "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(component, cases)
    assert smooth.outputs["o"] == expected
    assert stalled.outputs["o"] == expected
    latency = smooth.stream_cycles["o"][0] - smooth.stream_cycles["i"][words - 1]
    assert latency == component.latency
    assert smooth.cycles == len(inputs) + words - 1 + component.latency


def test_last_ends_a_group_early():
    x = vectors(3, 30, 4, 16)
    x = [vector[: 2 * (1 + k % 2)] for k, vector in enumerate(x)]
    inputs, expected = [], []
    for vector in x:
        q, scale, _ = dynamic_quantize(vector)
        shape = (len(vector) // 2, 1, 2)
        inputs += frame(vector.reshape(shape))
        expected += frame(q.reshape(shape), scale=np.full(shape[:2], scale))
    for result in bench.run_many(
        DynamicQuantizer(2, 2), [{"inputs": inputs}, {"inputs": inputs, "stall": 0.6}]
    ):
        assert result.outputs["o"] == expected


@pytest.mark.parametrize(
    ("lanes", "channels", "group_size", "zero", "width", "shift"),
    [
        (4, 1, 1, False, 8, 20),
        (4, 12, 1, True, 8, 17),
        (2, 12, 4, True, 4, 24),
        (1, 3, 1, False, 4, 0),
    ],
)
def test_static_matches_reference(lanes, channels, group_size, zero, width, shift):
    chooser = np.random.default_rng(channels)
    groups = channels // group_size
    multipliers = chooser.integers(0, 1 << 16, groups)
    multipliers[0] = (1 << 16) - 1
    zero_points = chooser.integers(0, 1 << width, groups) if zero else None
    x = vectors(4, 60, 12 if lanes > 1 else 3, 16)
    if channels == 1:
        expected = static_quantize(x, multipliers, shift, width)
    else:
        spread = np.repeat(multipliers, group_size)
        moved = np.repeat(zero_points, group_size) if zero else None
        expected = static_quantize(x, spread, shift, width, moved)
    component = StaticQuantizer(
        lanes,
        multipliers.tolist(),
        shift,
        width=width,
        group_size=group_size,
        zero_points=None if zero_points is None else zero_points.tolist(),
    )
    inputs = words_of(x, lanes)
    cases = [{"inputs": inputs, "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(component, cases)
    assert smooth.outputs["o"] == words_of(expected, lanes)
    assert stalled.outputs["o"] == words_of(expected, lanes)
    assert (smooth.latency, smooth.cycles) == (component.latency, len(inputs) + 4)
    low, high = limits(width, not zero)
    assert {expected.min(), expected.max()} == {low, high}


def groups_of(seed, lanes, words, n, shift):
    """Groups of words, their inputs to the unit, and the words that they make."""
    chooser = np.random.default_rng(seed)
    shape = (n, words, lanes)
    acc = chooser.integers(-1 << 31, 1 << 31, shape) >> chooser.integers(0, 31, shape)
    zero_point = chooser.integers(0, 256, shape)
    sums = chooser.integers(-1 << 15, 1 << 15, shape)
    scale = chooser.integers(0, 1 << 16, shape)
    acc[0, 0], zero_point[0, 0], sums[0, 0], scale[0, 0] = -1 << 31, 255, (1 << 15) - 1, 65535
    y = dequantize(acc, scale, shift, zero_point, sums)
    inputs = [
        {
            "data": acc[g, k].tolist(),
            "zero_point": zero_point[g, k].tolist(),
            "sums": sums[g, k].tolist(),
            "scale": scale[g, k].tolist(),
            "end": int(g == n - 1),
            "token": 0,
            "index": k,
            "argument": shift,
            "last": int(k == words - 1),
        }
        for k in range(words)
        for g in range(n)
    ]
    return inputs, frame(y.reshape(words, 1, lanes), shift)


@pytest.mark.parametrize("lanes", [1, 4])
def test_dequantizer_matches_reference(lanes):
    inputs, expected = [], []
    for seed, (n, shift) in enumerate([(1, 0), (3, 24), (4, 30), (2, 45), (1, 62), (4, 16)]):
        given, made = groups_of(seed, lanes, 12, n, shift)
        inputs, expected = inputs + given, expected + made
    component = Dequantizer(lanes, groups=4)
    cases = [{"inputs": inputs, "counts": len(expected), "stall": s} for s in (0.0, 0.5)]
    smooth, stalled = bench.run_many(component, cases)
    assert smooth.outputs["o"] == expected
    assert stalled.outputs["o"] == expected
    assert smooth.latency == component.latency == 7
    assert smooth.cycles == len(inputs) + component.latency
    values = {value for word in expected for value in word["data"]}
    assert {-(1 << 23), (1 << 23) - 1} <= values


def test_quantised_product_comes_back():
    """A dot product of quantised operands, corrected and scaled in groups, is close to float."""
    chooser = np.random.default_rng(9)
    x = chooser.normal(1000, 1000, (1, 64)).astype(np.int64)
    weights = chooser.normal(0, 400, (16, 64)).astype(np.int64)
    qx, sx, zx = dynamic_quantize(x, 8, symmetric=False)
    groups = weights.reshape(16, 4, 16)
    qw, sw, _ = dynamic_quantize(groups, 4)
    acc = np.einsum("rgk,gk->gr", qw, qx.reshape(4, 16))
    y = dequantize(acc, sw.T, 8, zx[0], qw.sum(-1).T, width=32) * sx[0] / 256
    exact = weights @ x[0]
    # a step for each value (half of it the zero point's), half a step for each weight, and both
    step, steps = sx[0] / 256, sw[..., None] / 256
    errors = step * np.abs(groups) + steps / 2 * (np.abs(x.reshape(4, 16)) + step)
    assert np.all(np.abs(y - exact) <= 1.02 * errors.sum((1, 2)) + 1)
    plain = dequantize(acc, sw.T, 8, width=32) * sx[0] / 256  # without the correction
    assert zx[0] > 0
    assert not np.all(np.abs(plain - exact) <= 1.02 * errors.sum((1, 2)) + 1)


GOOD = {
    DynamicQuantizer: {"lanes": 2, "words": 2},
    StaticQuantizer: {"lanes": 2, "multipliers": [1, 2], "shift": 4},
    Dequantizer: {"lanes": 2},
}


@pytest.mark.parametrize(
    ("component", "name", "value", "message"),
    [
        (DynamicQuantizer, "lanes", 3, "lanes must be a power of two from 1 to 64, not 3"),
        (DynamicQuantizer, "words", 0, "words must be from 1 to 4096, not 0"),
        (DynamicQuantizer, "x_width", 19, "x_width must be from 8 to 18, not 19"),
        (DynamicQuantizer, "width", 9, "width must be from 2 to 8, not 9"),
        (DynamicQuantizer, "symmetric", "no", "symmetric must be False or True, not 'no'"),
        (StaticQuantizer, "lanes", 0, "lanes must be a power of two from 1 to 64, not 0"),
        (StaticQuantizer, "multipliers", [], "multipliers must not be empty"),
        (StaticQuantizer, "multipliers", [-1], "multipliers must be from 0 to 65535, not -1"),
        (StaticQuantizer, "shift", 41, "shift must be from 0 to 40, not 41"),
        (StaticQuantizer, "x_width", 1, "x_width must be from 2 to 24, not 1"),
        (StaticQuantizer, "width", 1, "width must be from 2 to 8, not 1"),
        (StaticQuantizer, "group_size", 3, "group_size must be 1 or a multiple of 2 up to"),
        (StaticQuantizer, "zero_points", [1], r"zero_points must be as many as multipliers \(2\)"),
        (StaticQuantizer, "zero_points", [1, 256], "zero_points must be from 0 to 255, not 256"),
        (Dequantizer, "lanes", 128, "lanes must be a power of two from 1 to 64, not 128"),
        (Dequantizer, "acc_width", 41, "acc_width must be from 8 to 40, not 41"),
        (Dequantizer, "sum_width", 1, "sum_width must be from 2 to 24, not 1"),
        (Dequantizer, "groups", 0, "groups must be from 1 to 4096, not 0"),
        (Dequantizer, "width", 33, "width must be from 8 to 32, not 33"),
    ],
)
def test_parameters_out_of_range(component, name, value, message):
    with pytest.raises(ValueError, match=message):
        component(**GOOD[component] | {name: value})


def test_too_many_groups_are_reported_and_the_next_word_is_right():
    def word(value, end):
        group = {"data": [value], "zero_point": [0], "sums": [0], "scale": [1], "end": end}
        return group | {"token": 0, "index": 0, "argument": 0, "last": 0}

    whole, long = [word(5, 0), word(6, 1)], [word(1, 0), word(2, 0), word(3, 1)]
    for words, error in ((whole * 2, 0), (long + whole, 1)):
        got = watch(Dequantizer(1, 8, 8, 2, 8), words, signals=["error"])
        assert got.words[-1]["data"] == [11]
        assert got.signals == {"error": error}
