import numpy as np
import pytest
from celosia.reference.units.norm import gain
from celosia.rtl.norm.weigh import Weigh
from celosia.sim import bench
from framing import frame


def test_matches_reference():
    chooser, (lanes, words, width) = np.random.default_rng(1), (3, 7, 24)
    weights = chooser.integers(-1 << 15, 1 << 15, (3, words * lanes))
    weights[0, :4] = 1 << 14, -1 << 15, (1 << 15) - 1, 0
    inputs, expected = [], []
    for number in (0, 2, 1, 0):
        x = chooser.integers(-1 << 23, 1 << 23, (words, 2, lanes)) >> chooser.integers(0, 22)
        x[0, 0], x[1, 1] = (1 << 23) - 1, -1 << 23
        norms = np.full((words, 2), number)
        inputs += frame(x, 5, norm=norms)
        y = gain(x, weights[number].reshape(words, 1, lanes), 14, width)
        expected += frame(y, 5, norm=norms)
    cases = [{"inputs": inputs, "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(Weigh(lanes, words, width, weights, 2), cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    assert smooth.stream_cycles["o"] == [*range(5, len(inputs) + 5)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 24, [[0]]), "lanes must be from 1 to 64, not 0"),
        ((1, 0, 24, [[0]]), "words must be from 1 to 4096, not 0"),
        ((1, 1, 19, [[0]]), "width must be from 20 to 28, not 19"),
        ((1, 1, 24, [[1 << 15]]), "each of gains must be int16"),
        ((1, 1, 24, [[0]], 65), "tokens must be from 1 to 64, not 65"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Weigh(*arguments)
