import numpy as np
import pytest
from celosia.reference.units.softmax import power_factor, softmax
from celosia.rtl.attention.softmax import Softmax
from celosia.rtl.attention.softmax_total import SoftmaxTotal
from celosia.sim import bench

# lanes, words, unit, x_width, o_width, tokens
SHAPES = [(4, 6, 2.0**-6, 12, 16, 3), (1, 9, 1.0, 6, 8, 1), (8, 3, 3e-5, 24, 11, 1)]


def vectors(lanes, words, width, seed):
    """Pairs of scores and mask bool, of every length; maxima early, late and beyond all others."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    for n in [*range(1, lanes * words + 1), *[lanes * words] * 8]:
        spread = 2.0 ** rng.uniform(0, width - 1)
        x = np.clip(np.round(rng.normal(0, spread, n)), low, high).astype(np.int64)
        x = [x, np.sort(x), np.sort(x)[::-1], np.where(rng.random(n) < 0.5, low, high)][n % 4]
        yield x, rng.random(n) < rng.choice([0.0, 0.2, 0.8, 1.0])


def words_of(x, mask, lanes, k, tokens):
    """One vector's words; what is masked out of its last one is anything."""
    n = -(-len(x) // lanes)
    x = np.pad(x, (0, n * lanes - len(x)), constant_values=1).reshape(n, lanes)
    mask = np.pad(mask, (0, x.size - len(mask))).reshape(n, lanes)
    return [
        {
            "data": x[index].tolist(),
            "mask": int(mask[index] @ (1 << np.arange(lanes))),
            "token": k % tokens,
            "index": index,
            "argument": 7 * k % 256,
            "last": int(index == n - 1),
        }
        for index in range(n)
    ]


def results_of(y, lanes, k, tokens):
    words = words_of(np.pad(y, (0, -len(y) % lanes)), np.zeros(0, bool), lanes, k, tokens)
    return [{name: word[name] for name in word if name != "mask"} for word in words]


def work(lanes, words, unit, x_width, o_width, tokens, seed=0):
    inputs, expected = [], []
    for k, (x, mask) in enumerate(vectors(lanes, words, x_width, seed)):
        inputs += words_of(x, mask, lanes, k, tokens)
        expected += results_of(softmax(x, unit, lanes, words, mask, o_width), lanes, k, tokens)
    return inputs, expected


@pytest.mark.parametrize(("lanes", "words", "unit", "x_width", "o_width", "tokens"), SHAPES)
def test_matches_reference(lanes, words, unit, x_width, o_width, tokens):
    shape = (lanes, words, unit, x_width, o_width, tokens)
    inputs, expected = work(*shape)
    unit = Softmax(*shape)
    cases = [{"inputs": inputs, "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(unit, cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    assert smooth.signals["error"] == 0
    ends = [n for n, word in enumerate(inputs) if word["last"]]
    assert smooth.stream_cycles["i"][: ends[5]] == [*range(ends[5])]
    assert smooth.stream_cycles["o"][0] == ends[0] + unit.latency


def test_whole_vectors_follow_each_other_without_a_gap():
    lanes, words = SHAPES[0][:2]
    rng = np.random.default_rng(0)
    inputs = []
    for k in range(12):
        x = rng.integers(-2048, 2048, lanes * words)
        inputs += words_of(x, np.ones(x.shape, bool), lanes, k, 3)
    unit = Softmax(*SHAPES[0])
    result = bench.run(unit, inputs)
    start = words - 1 + unit.latency
    assert result.stream_cycles["i"] == [*range(len(inputs))]
    assert result.stream_cycles["o"] == [*range(start, start + len(inputs))]


def test_broken_vectors_are_reported_and_the_next_ones_right():
    shape = SHAPES[0]
    lanes, words, unit, _, o_width, tokens = shape
    rng = np.random.default_rng(2)
    xs = rng.integers(-300, 300, (3, lanes * words))
    whole = np.ones(lanes * words, bool)
    first, second, third = (words_of(x, whole, lanes, k, tokens) for k, x in enumerate(xs))
    y = [softmax(x, unit, lanes, words, None, o_width) for x in xs]
    right = [results_of(v, lanes, k, tokens) for k, v in enumerate(y)]
    gap = [word for word in second if word["index"] != 2]
    endless = [{**word, "last": 0} for word in second]
    endless += [{**word, "index": words + k} for k, word in enumerate(second)]
    broken_off = second[:4]
    cases = []
    for broken, n in ((gap, 3), (endless, words), (broken_off, 5), (second[1:], 0)):
        inputs = [*first, *broken, *third]
        cases += [{"inputs": inputs, "counts": 2 * words + n, "stall": s} for s in (0.0, 0.5)]
    for result in bench.run_many(Softmax(*shape), cases):
        assert result.signals["error"] == 1
        output = result.outputs["o"]
        assert output[:words] == right[0]
        assert output[-words:] == right[2]
        assert [w["last"] for w in output[words:-words]] in ([], [*[0] * (len(output) - 13), 1])
    assert output == right[0] + right[2]


@pytest.mark.parametrize(("unit", "width"), [(2.0**-8, 16), (0.01, 8), (1.0, 12), (2.0**-14, 16)])
def test_reference_is_near_exact_values(unit, width):
    rng = np.random.default_rng(width)
    for n in (1, 5, 300, 4096):
        scale = 2.0 ** rng.uniform(0, 13, (20, 1)) / (unit * 4096)
        x = np.clip(np.round(rng.normal(0, scale, (20, n))), -(1 << 15), (1 << 15) - 1)
        x = np.concatenate([x, np.sort(x), np.sort(x)[:, ::-1]]).astype(np.int64)
        mask = rng.random(x.shape) < rng.choice([0.1, 1.0], (60, 1))
        mask[:, n // 2] = True
        y = softmax(x, unit, 8, 512, mask, width)
        powers = np.where(
            mask, np.exp((x - x.max(-1, keepdims=True, where=mask, initial=-1 << 20)) * unit), 0
        )
        exact = powers / powers.sum(-1, keepdims=True) * 2.0**width
        allowed = 0.5 + 2e-4 * exact + np.where(y == (1 << width) - 1, 0.5, 0)
        assert (np.abs(y - exact) <= allowed).all()


def test_a_vector_without_an_element_is_zero():
    assert softmax([3, 4, 5], 0.1, 2, 8, [False] * 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("unit", [2.0**-20, 0.3, 2.0**-8, 1.0])
def test_unit_keeps_17_bits(unit):
    factor, shift = power_factor(unit)
    assert factor.bit_length() == 17
    assert factor / 2.0 ** (shift + 14) == pytest.approx(unit / np.log(2), rel=2.0**-17)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 4, 0.1), "lanes must be a power of two from 1 to 64, not 3"),
        ((4, 0, 0.1), "words must be from 1 to 4096, not 0"),
        ((4, 4, 1.5), r"unit must be from 2\*\*-20 to 1, not 1.5"),
        ((4, 4, 0.1, 25), "x_width must be from 4 to 24, not 25"),
        ((4, 4, 0.1, 16, 7), "o_width must be from 8 to 16, not 7"),
        ((4, 4, 0.1, 16, 16, 0), "tokens must be from 1 to 64, not 0"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Softmax(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 4, 8), "lanes must be a power of two from 1 to 64, not 3"),
        ((4, 4097, 8), "words must be from 1 to 4096, not 4097"),
        ((4, 4, 3), "exponent_width must be from 4 to 26, not 3"),
    ],
)
def test_bad_parameters_of_the_total(arguments, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxTotal(*arguments)
