import random

import numpy as np
import pytest
from celosia.reference.functions import functions
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.functions.rsqrt import Rsqrt
from celosia.sim import bench

UNITS = [(Rsqrt, functions.rsqrt), (Reciprocal, functions.reciprocal)]


def numbers(width):
    chooser = random.Random(width)
    edges = [1 << b for b in range(width)] + [(2 << b) - 1 for b in range(width)]
    if width <= 8:
        return [*range(1, 1 << width)]
    some = [max(1, chooser.randrange(1 << chooser.randrange(1, width + 1))) for _ in range(2000)]
    top = [chooser.randrange(1 << (width - 1), 1 << width) for _ in range(300)]
    return edges + some + top


@pytest.mark.parametrize(("width", "multiplier_blocks"), [(7, False), (62, False), (62, True)])
@pytest.mark.parametrize(("unit", "function"), UNITS)
def test_matches_reference(unit, function, width, multiplier_blocks):
    x = numbers(width)
    mantissa, shift = function(np.array(x))
    cases = [{"inputs": x, "stall": stall, "seed": 2} for stall in (0.0, 0.5)]
    results = bench.run_many(unit(width, multiplier_blocks=multiplier_blocks), cases)
    for result in results:
        assert [y["mantissa"] for y in result.outputs["o"]] == mantissa.tolist()
        assert [y["shift"] for y in result.outputs["o"]] == shift.tolist()
    assert (results[0].latency, results[0].cycles) == (5, len(x) + 5)


@pytest.mark.parametrize("width", [0, 63])
@pytest.mark.parametrize("unit", [Rsqrt, Reciprocal])
def test_width_out_of_range(unit, width):
    with pytest.raises(ValueError, match=f"width must be from 1 to 62, not {width}"):
        unit(width)
