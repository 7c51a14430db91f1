"""reference.group_quantize against GGUF's own blocks, and against plain rounding."""

import gguf
import numpy as np
import pytest
from celosia.reference.quantization.group_quantize import group_quantize, group_starts


def weights(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, columns)).astype(np.float32)


def through_gguf(w, kind):
    """``w`` as a file of that type gives it back, and the file's codes."""
    blocks = gguf.quants.quantize(w, kind)
    octets = blocks.reshape(len(w), w.shape[1] // 32, -1)
    if kind == gguf.GGMLQuantizationType.Q8_0:
        codes = octets[..., 2:].view(np.int8)
    else:
        nibbles = octets[..., 2 if kind == gguf.GGMLQuantizationType.Q4_0 else 4 :]
        codes = np.concatenate([nibbles & 15, nibbles >> 4], axis=-1).astype(np.int8) - 8
    return gguf.quants.dequantize(blocks, kind), codes.reshape(w.shape)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1"])
def test_keeps_the_codes_of_a_file(kind):
    w, file_codes = through_gguf(weights(20, 96), gguf.GGMLQuantizationType[kind])
    width = int(kind[1])
    codes, groups, step = group_quantize(w, width, 32, 12 if width < 8 else 0)
    np.testing.assert_array_equal(codes, file_codes)
    largest = step * np.abs(groups.integers(codes)).max(axis=1)
    error = np.abs(groups.integers(codes) * step[:, None] - w)
    assert (error <= (0.5 + 0.5 * (1 << width - 1)) * step[:, None]).all()
    assert (error.max(axis=1) < largest / 100).all()


def test_keeps_the_codes_of_q4_0_up_to_a_mirror():
    """A negative scale is made positive: codes become ``-1 - code`` beside an offset."""
    w, file_codes = through_gguf(weights(20, 96), gguf.GGMLQuantizationType.Q4_0)
    codes, groups, step = group_quantize(w, 4, 32, 12)
    mirrored = groups.offsets.repeat(32, axis=1) != 0
    np.testing.assert_array_equal(codes, np.where(mirrored, -1 - file_codes, file_codes))
    assert mirrored.any()
    assert not mirrored.all()
    used = groups.offsets[groups.offsets != 0]
    np.testing.assert_array_equal(used, groups.scales[groups.offsets != 0])
    np.testing.assert_allclose(groups.integers(codes) * step[:, None], w, atol=8.5 * step.max())


@pytest.mark.parametrize("offsets", [0, 12, 8])
@pytest.mark.parametrize("width", [2, 3, 4, 5, 8])
def test_is_as_near_as_a_group_allows(width, offsets):
    w = weights(7, 80, seed=width)
    codes, groups, step = group_quantize(w, width, 16, offsets)
    assert codes.min() >= -(1 << width - 1)
    assert codes.max() < 1 << width - 1
    spread = w.reshape(7, 5, 16).max(axis=2) - w.reshape(7, 5, 16).min(axis=2)
    allowed = 2 * np.abs(w).reshape(7, 5, 16).max(axis=2) / ((1 << width) - 2)
    if offsets:  # the better of two rules is at least as good as the first
        allowed = spread / ((1 << width) - 1) * np.sqrt(16)
    error = np.abs(groups.integers(codes) * step[:, None] - w).reshape(7, 5, 16).max(axis=2)
    slack = (0.51 + (1 << width - 2)) * step[:, None]
    assert (error <= allowed / 2 + slack).all()


def test_a_remainder_joins_the_last_group():
    assert group_starts(100, 32).tolist() == [0, 32, 64]
    w = weights(3, 100)
    codes, groups, step = group_quantize(w, 8, 32, 0)
    assert groups.scales.shape == (3, 3)
    np.testing.assert_allclose(groups.integers(codes) * step[:, None], w, atol=192 * step.max())
    np.testing.assert_array_equal(groups.integers(codes, [2]), groups.integers(codes)[2:])


@pytest.mark.parametrize("offsets", [0, 12, 8])
def test_rows_of_zeros_and_of_one_value(offsets):
    w = np.zeros((3, 64), np.float32)
    w[1], w[2, 0] = -2.5, 1e-20
    codes, groups, step = group_quantize(w, 4, 32, offsets)
    values = groups.integers(codes) * step[:, None]
    np.testing.assert_allclose(values, w, rtol=0.01, atol=1e-22)


def test_refuses_a_row_shorter_than_a_group():
    with pytest.raises(ValueError, match="a group of 64 weights does not fit a row of 48"):
        group_quantize(weights(2, 48), 4, 64, 12)


def test_short_offsets_are_multiples_and_lose_little():
    w = weights(20, 96) + 0.7
    values = {}
    for width in (12, 8):
        codes, groups, step = group_quantize(w, 4, 32, width)
        unit = 1 << (12 - width)
        assert groups.unit == unit
        assert not (groups.offsets % unit).any()
        assert np.abs(groups.offsets // unit).max() < 1 << (width - 1)
        values[width] = groups.integers(codes) * step[:, None]
        smaller = groups.smaller([3], np.array([[0.71]]))
        assert not (smaller.offsets % unit).any()
    most = 10 * step[:, None]  # half a unit, and what scales differ by
    assert (np.abs(values[8] - values[12]) <= most).all()
    assert (values[8] != values[12]).any()
