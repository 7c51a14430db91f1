import math
import re
from fractions import Fraction

import numpy as np
import pytest
from celosia.reference.arithmetic import (
    bit_length,
    magnitude_bits,
    round_shift,
    saturate,
    wrap_shift,
)
from celosia.reference.functions import functions
from celosia.reference.units.block_quantize import block_quantize
from celosia.reference.units.sampler import Sampler, gumbel, xorshift32
from celosia.reference.units.scale import ONE, scale
from celosia.reference.units.softmax import EMPTY, SPAN, align, softmax_block

HALF = Fraction(1, 2)


def integers(bits, n=300, seed=0):
    """Signed integers around every power of two below ``2**bits``, and random ones."""
    rng = np.random.default_rng(seed)
    edges = [s * (1 << b) + d for b in range(bits) for s in (-1, 1) for d in (-1, 0, 1)]
    return edges + [
        int(x) >> int(rng.integers(bits)) for x in rng.integers(-1 << bits, 1 << bits, n)
    ]


def test_shifts_are_exact():
    x = integers(61)
    for shift in range(63):
        exact = [math.floor(Fraction(v, 1 << shift) + HALF) for v in x]
        assert round_shift(x, shift).tolist() == exact
        assert wrap_shift(x, shift).tolist() == [math.floor(Fraction(v, 1 << shift)) for v in x]
    assert wrap_shift([-3, 5], [-7, -60]).tolist() == [-3 << 7, 5 << 60]
    assert round_shift([-3, -3, 3], [0, 1, 1]).tolist() == [-3, -1, 2]


def test_saturation_and_lengths():
    x = integers(62)
    for width in (2, 8, 24, 62):
        high = (1 << (width - 1)) - 1
        assert saturate(x, width).tolist() == [min(max(v, -high - 1), high) for v in x]
    positive = [v for v in x if v >= 0]
    assert bit_length(positive).tolist() == [v.bit_length() for v in positive]


def test_magnitude_bits_are_the_fewest():
    x = integers(61)
    blocks = [[a, b, c] for a, b, c in zip(x, x[7:], x[29:], strict=False)] + [[0, 0, -1]]
    for block, bits in zip(blocks, magnitude_bits(blocks).tolist(), strict=True):
        assert all(-(1 << bits) <= v < 1 << bits for v in block)
        assert bits == 0 or not all(-(1 << bits - 1) <= v < 1 << bits - 1 for v in block)


def check_bound(function, error):
    """The error is what the docstring says: not above it, nor far below."""
    stated = float(re.search(r"error (\S+?)\.?$", function.__doc__, re.MULTILINE).group(1))
    assert 0.95 * stated < error <= stated


def ends(low, high, spare):
    """The smallest and largest numbers with each of the 16 leading bits from ``low`` on.

    Between them the exact function is monotonic and the table's value constant.
    """
    leading = np.arange(low, high, dtype=np.int64)
    return np.concatenate([leading << spare, (leading << spare) + (1 << spare) - 1])


@pytest.mark.parametrize(
    ("function", "lowest", "power"),
    [(functions.rsqrt, 1 << 14, 0.5), (functions.reciprocal, 1 << 15, 1.0)],
)
def test_error_of_rsqrt_and_reciprocal(function, lowest, power):
    largest = 0
    for spare in (0, 1, 20, 46):
        x = ends(lowest, 1 << 16, spare)
        mantissa, shift = function(x)
        assert mantissa.min() >= 1 << 15
        assert mantissa.max() <= 1 << 16
        value = mantissa * 2.0 ** (-15.0 - shift)
        largest = max(largest, np.abs(value * x.astype(np.float64) ** power - 1).max())
    check_bound(function, largest)
    x = np.arange(1, 1 << 16)
    mantissa, shift = function(x)
    assert np.abs(mantissa * 2.0 ** (-15.0 - shift) * x**power - 1).max() <= largest


@pytest.mark.parametrize(
    ("activation", "bound", "exact"),
    [
        ("silu", 2.4e-5, lambda x: 1 / (1 + np.exp(-x))),
        ("gelu", 2.1e-5, lambda x: np.array([1 + math.erf(v / 2**0.5) for v in x]) / 2),
        (
            "gelu_tanh",
            2.1e-5,
            lambda x: 0.5 + 0.5 * np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)),
        ),
    ],
)
def test_error_of_gating(activation, bound, exact):
    x = np.arange(-(1 << 17), 1 << 17)
    y = functions.gating(x, activation)
    assert bound * 0.9 < np.abs(y / 65536 - exact(x / 4096)).max() <= bound
    assert f"{bound:.1e}".replace("e-0", "e-") in functions.gating.__doc__
    assert (y + functions.gating(-x, activation) == 1 << 16).all()


def test_error_of_sine():
    phase = np.arange(1 << 18, dtype=np.int64) << 14
    largest = 0
    for p in (phase, phase + (1 << 14) - 1):
        exact = np.sin(p * (2 * np.pi / 2**32))
        largest = max(largest, np.abs(functions.sine(p) / 16384 - exact).max())
    check_bound(functions.sine, largest)


def test_sine_and_cosine_of_positions():
    positions, increments = [0, 1, 4095, 1 << 19], [1 << 31, 683565276, 12345, 1]
    sine, cosine = functions.sine_cosine(positions, increments)
    angle = np.outer(positions, increments) % (1 << 32) * (2 * np.pi / 2**32)
    assert np.abs(sine / 16384 - np.sin(angle)).max() < 1e-4
    assert np.abs(cosine / 16384 - np.cos(angle)).max() < 1e-4
    assert (sine[0].tolist(), cosine[0].tolist()) == ([0] * 4, [1 << 14] * 4)


def exact_scale(acc, row_scale, shift, mantissa, width):
    def limit(x, bits):
        return min(max(x, -(1 << bits - 1)), (1 << bits - 1) - 1)

    factor = math.floor(Fraction(row_scale * mantissa, 1 << 16) + HALF)
    aligned = limit(math.floor(Fraction(acc << 16) / 2 ** max(shift - 3, 0)), 27)
    return limit(math.floor(Fraction(aligned * factor, 1 << 19) + HALF), width)


def test_scale_is_exact():
    rng = np.random.default_rng(1)
    acc = np.array(integers(31, n=2000))
    n = len(acc)
    row_scale = rng.choice([0, 1, 65535, *rng.integers(0, 1 << 16, 20)], n)
    mantissa = rng.choice([0, 1, 1 << 15, ONE, *rng.integers(0, ONE, 20)], n)
    shift = rng.integers(-5, 64, n)
    for width in (16, 24):
        y = scale(acc, row_scale, shift, mantissa, width)
        arguments = np.stack([acc, row_scale, shift, mantissa], axis=-1).tolist()
        assert y.tolist() == [exact_scale(*a, width) for a in arguments]


def test_scale_loses_less_than_five_eighths():
    acc = np.array(integers(26, n=2000, seed=2))
    for shift in range(3, 40):
        for row_scale in (1 << 15, 54321, 65535):
            exact = acc * (row_scale / 2**shift)
            inside = np.abs(exact) < (1 << 23) * row_scale / 65536 - 1
            error = np.abs(scale(acc, row_scale, shift) - exact)
            assert error[inside].max() < 0.5 + 1 / 8


@pytest.mark.parametrize("width", [4, 8])
def test_block_quantize_is_exact(width):
    high = (1 << (width - 1)) - 1
    x = np.array(integers(38, n=1000, seed=3))
    blocks = np.stack([x, np.roll(x, 5), np.roll(x, 11)], axis=-1)
    mantissas, exponents = block_quantize(blocks, width)
    for block, mantissa, e in zip(
        blocks.tolist(), mantissas.tolist(), exponents.tolist(), strict=True
    ):
        fits = [all(-high - 1 << k <= v < high + 1 << k for v in block) for k in (e, max(e - 1, 0))]
        assert fits == [True, e == 0]
        exact = [Fraction(v, 1 << e) for v in block]
        assert mantissa == [min(math.floor(v + HALF), high) for v in exact]


def test_softmax_blocks_of_one_score():
    score = np.arange(-(1 << 15), 1 << 15)
    power, exponent = softmax_block(score[:, None], np.ones((1 << 16, 1), bool))
    assert (exponent == score // 256 + 1).all()
    assert power.min() == 64  # never less than half of the range
    error = np.abs(power[:, 0] - 127 * 2.0 ** (score / 256 - exponent))
    check_bound(softmax_block, error.max())


def test_softmax_blocks_of_two_scores():
    below = np.arange(0, 256 * 20)
    for top in (-32768 + 256 * 20, 0, 127, 32767):
        scores = np.stack([np.full_like(below, top), top - below], axis=-1)
        power, exponent = softmax_block(scores, np.ones_like(scores, bool))
        exact = 127 * 2.0 ** (scores / 256 - exponent[:, None])
        assert np.abs(power - exact).max() < 0.501


def test_softmax_ignores_invalid_scores():
    scores = np.array([[32767, -300, 5], [32767, 5, 5]])
    valid = np.array([[False, True, False], [False, False, False]])
    power, exponent = softmax_block(scores, valid)
    alone, exponent_alone = softmax_block(scores[:1, 1:2], np.ones((1, 1), bool))
    assert power.tolist() == [[0, alone[0, 0], 0], [0, 0, 0]]
    assert exponent.tolist() == [exponent_alone[0], EMPTY]


def test_softmax_blocks_align():
    exponents = np.array([10, 10 - SPAN, 9 - SPAN, EMPTY, 3])
    powers, shifts = align(np.full((5, 2), 100), exponents, 10)
    assert powers[:, 0].tolist() == [100, 100, 0, 0, 100]
    assert shifts.tolist() == [SPAN, 0, 0, 0, SPAN - 7]


def test_xorshift():
    state = 1
    for _ in range(1000):
        following = state ^ state << 13 & 0xFFFFFFFF
        following ^= following >> 17
        following ^= following << 5 & 0xFFFFFFFF
        assert xorshift32(state) == following
        state = following
    assert xorshift32(1) == 270369  # Marsaglia's first value


def test_gumbel_distribution():
    n = 1 << 20
    bits = (np.arange(n, dtype=np.int64) << 12) + (1 << 11)  # evenly over all 32-bit numbers
    value = np.sort(gumbel(bits)) / 2048
    assert (np.diff(gumbel(bits)) <= 0).all()  # monotonic in the bits
    distribution = np.exp(-np.exp(-value))  # uniform, were the variates exact
    distance = np.abs(distribution - (np.arange(n) + 0.5) / n).max()
    assert distance < 1 / 256 + 1 / 2048  # half a column of the widest row, and rounding
    assert abs(value.mean() - np.euler_gamma) < 0.005
    assert abs(value.var() - np.pi**2 / 6) < 0.02


def test_gumbel_lies_inside_its_column():
    def quantile(v):
        return -math.log(-math.log1p(-v)) if v < 1 else -math.inf

    rounding = (0.5 + 16 * 0.5) / 2048  # the table's, and that of ln 2 for each further zero
    for zeros in range(32):
        lowest = 1 << (31 - zeros)
        for column in range(64):
            bits = lowest + column * lowest // 64
            value = gumbel(bits) / 2048
            place = (bits - lowest) * 64 // lowest
            low, high = (2.0 ** (-zeros - 1) * (1 + c / 64) for c in (place, place + 1))
            assert quantile(high) - rounding <= value <= quantile(low) + rounding


def test_sampler_is_greedy_at_zero():
    sampler = Sampler(4, 12)
    state = sampler.state
    assert sampler([3, 9, 9, -1, 2]) == 1
    assert sampler.state is state


@pytest.mark.parametrize("temperature", [128, 256, 512])
def test_sampler_draws_from_the_softmax(temperature):
    logits = np.array([4096, 0, 8192, 6000, -9000, 8192, 1000])
    sampler = Sampler(4, 12, temperature, seed=11)
    n = 8000
    counts = np.bincount([sampler(logits) for _ in range(n)], minlength=len(logits))
    exact = np.exp(logits / 4096 / (temperature / 256))
    exact /= exact.sum()
    deviation = (counts - n * exact) / np.sqrt(n * exact * (1 - exact))
    assert np.abs(deviation).max() < 4
    other = Sampler(4, 12, temperature, seed=12)
    assert [sampler(logits) for _ in range(50)] != [other(logits) for _ in range(50)]


def test_sampler_seeds():
    golden = 0x9E3779B1
    expected = [(5 ^ (n * golden & 0xFFFFFFFF)) for n in (1, 2, 3)]
    assert Sampler(3, 12, 1, 5).state.tolist() == expected
    assert Sampler(3, 12, 1, 2 * golden & 0xFFFFFFFF).state[1] == 1
