import numpy as np
import pytest
from celosia.rtl.stream.reshape import Transposer, WidthConverter
from framing import frame
from python_bench import run, watch

SHAPES = [(2, 8), (1, 2), (8, 2), (4, 1), (4, 4)]


def vectors(lanes, seed=0):
    """Vectors int[n] of so many words of ``lanes``."""
    chooser = np.random.default_rng(seed)
    return [chooser.integers(-128, 128, n * lanes) for n in (4, 1, 3, 8, 2)]


@pytest.mark.parametrize(("lanes", "o_lanes"), SHAPES)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_width_converter(lanes, o_lanes, stall):
    words, expected, cycles, start = [], [], [], 0
    for k, x in enumerate(vectors(lanes)):
        y = np.pad(x, (0, -len(x) % o_lanes)).reshape(-1, 1, o_lanes)
        words += frame(x.reshape(-1, 1, lanes), k)
        expected += frame(y, k)
        count = len(x) // min(lanes, o_lanes)  # of words on the side with fewer lanes
        each = max(o_lanes // lanes, 1)
        cycles += [start + min(n + each, count) for n in range(0, count, each)]
        start += count
    got = watch(WidthConverter(lanes, o_lanes, 8), words, stall)
    assert got.words == expected
    if not stall:
        assert got.cycles == cycles


def test_width_converter_finds_its_place_behind_a_broken_vector():
    first, second = (frame(x.reshape(-1, 1, 2), k) for k, x in enumerate(vectors(2)[2:4]))
    right = run(WidthConverter(2, 8, 8), second)
    assert run(WidthConverter(2, 8, 8), [*first[:2], *second])[-len(right) :] == right


@pytest.mark.parametrize("lanes", [1, 2, 8])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_transposer(lanes, stall):
    tiles = np.random.default_rng(lanes).integers(-512, 512, (6, lanes, lanes))
    unit = Transposer(lanes, 10)
    got = watch(unit, frame(tiles.reshape(-1, 1, lanes), 5), stall)
    assert got.words == frame(tiles.transpose(0, 2, 1).reshape(-1, 1, lanes), 5)
    if not stall:
        assert got.cycles == [*range(unit.latency, unit.latency + 6 * lanes)]


def test_transposer_finds_its_place_behind_a_broken_tile():
    tiles = np.random.default_rng(1).integers(-512, 512, (3, 4, 4))
    words = frame(tiles.reshape(-1, 1, 4))
    right = run(Transposer(4, 10), words)
    assert run(Transposer(4, 10), [*words[:6], *words[8:]])[-4:] == right[-4:]


@pytest.mark.parametrize(
    ("unit", "arguments", "message"),
    [
        (WidthConverter, (3, 4, 8), "lanes must be a power of two from 1 to 64, not 3"),
        (WidthConverter, (4, 128, 8), "o_lanes must be a power of two from 1 to 64, not 128"),
        (WidthConverter, (4, 8, 0), "width must be from 1 to 64, not 0"),
        (Transposer, (5, 8), "lanes must be a power of two from 1 to 64, not 5"),
        (Transposer, (4, 65), "width must be from 1 to 64, not 65"),
    ],
)
def test_bad_parameters(unit, arguments, message):
    with pytest.raises(ValueError, match=message):
        unit(*arguments)
