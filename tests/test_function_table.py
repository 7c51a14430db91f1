import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.functions.function_table import FUNCTIONS, function_table, named
from celosia.rtl.functions.function_table import Function
from celosia.sim import bench

LANES = 8


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_inputs_are_within_the_bound(name):
    f, low, high, x_fraction, y_fraction, bound = FUNCTIONS[name]
    table, x = named(name), np.arange(low, high)
    error = np.abs(table(x) - f(x / 2.0**x_fraction) * 2.0**y_fraction)
    assert error.max() == table.error <= bound
    assert table(low - 5) == table(low)
    assert table(high + 5) == table(high - 1)


def test_named_functions_at_known_points():
    one = 1 << 12
    assert abs(named("exp")(one) / 32768 - math.exp(-1)) < 2**-15
    assert named("exp")(0) in (32767, 32768)
    assert abs(named("gelu")(one) / one - 0.8413447) < 2**-12
    assert abs(named("gelu_tanh")(one) / one - 0.8411920) < 2**-12
    assert abs(named("silu")(-one) / one + 0.2689414) < 2**-12
    assert abs(named("rsqrt")(1 << 14) - 65536) <= 1
    assert abs(named("reciprocal")(49152) / 32768 - 4 / 3) < 2**-15


def test_a_looser_bound_needs_fewer_bits():
    sizes = [
        function_table(np.tanh, -128, 128, 5, 7, bound).bits for bound in (0.55, 0.75, 1, 2, 4)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) >= 4


class All(wiring.Component):
    """All named functions, side by side: outputs of a word leave together."""

    def __init__(self, names):
        self.units = {name: Function(name, LANES) for name in names}
        ports = {f"i_{n}": In(u.i.signature.flip()) for n, u in self.units.items()}
        ports |= {f"o_{n}": Out(stream.Signature(u.o.p.shape())) for n, u in self.units.items()}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, wiring.flipped(getattr(self, f"i_{name}")), unit.i)
            wiring.connect(m, wiring.flipped(getattr(self, f"o_{name}")), unit.o)
        return m


def words(values):
    values = values.reshape(-1, LANES)
    return [
        {"data": v.tolist(), "token": k & 1, "index": k, "argument": k % 200, "last": k % 3 == 0}
        for k, v in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("names", "every"), [pytest.param(FUNCTIONS, 1, marks=pytest.mark.slow), (("exp", "silu"), 101)]
)
def test_inputs_match_reference(names, every):
    units = All(names)
    x = {n: np.arange(u.table.low, u.table.high) for n, u in units.units.items()}
    inputs = {f"i_{n}": words(values)[::every] for n, values in x.items()}
    counts = {f"o_{n}": len(inputs[f"i_{n}"]) for n in x}
    cases = [{"inputs": inputs, "counts": counts, "stall": s, "seed": 1} for s in (0.0, 0.5)]
    smooth, stalled = bench.run_many(units, cases)
    for name, values in x.items():
        expected = words(named(name)(values))[::every]
        assert smooth.outputs[f"o_{name}"] == stalled.outputs[f"o_{name}"] == expected
        latency, cycles = units.units[name].latency, smooth.stream_cycles
        assert cycles[f"i_{name}"] == [*range(len(expected))]
        assert cycles[f"o_{name}"] == [*range(latency, latency + len(expected))]


@pytest.mark.parametrize("name", ["gelu", "exp"])
def test_products_of_multipliers_are_the_same(name):
    unit = Function(name, LANES, multiplier_blocks=True)
    values = np.arange(unit.table.low, unit.table.high)
    inputs, expected = words(values)[::101], words(named(name)(values))[::101]
    cases = [{"inputs": {"i": inputs}, "stall": stall, "seed": 2} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(unit, cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    assert smooth.latency == Function(name, LANES).latency


def test_a_range_that_is_not_all_of_the_shape():
    table = function_table(lambda x: x**2, -100, 28, 4, 2, 0.8)
    x = np.arange(-128, 128)
    unit = Function(table, 2)
    assert unit.x_shape.width == 8
    y, _ = bench.run(unit, words_of_two(x))
    assert [v for word in y for v in word["data"]] == table(x).tolist()
    assert table(-128) == table(-100)


def words_of_two(values):
    frame = {"token": 0, "index": 0, "argument": 0, "last": 0}
    return [{"data": pair.tolist(), **frame} for pair in values.reshape(-1, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.tanh, 0, 100, 4, 4, 1), "high - low must be a power of two from 8 to 65536, not 100"),
        ((np.log, 0, 128, 4, 4, 1), "f must be finite on the whole range"),
        ((np.tanh, 0, 128, 4, 4, 0.2), "bound must be above what a table can keep, not 0.2"),
    ],
)
def test_impossible_tables(arguments, message):
    with pytest.raises(ValueError, match=message):
        function_table(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sinh",), "name must be one of exp, .*, rsqrt, not 'sinh'"),
        ((7,), "table must be a FunctionTable or the name of one, not 7"),
        (("tanh", 0), "lanes must be from 1 to 64, not 0"),
        (("tanh", 1, 65), "tokens must be from 1 to 64, not 65"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Function(*arguments)


def test_example(capsys):
    path = Path(__file__).parents[1] / "examples" / "components" / "function_table.py"
    runpy.run_path(str(path))
    assert "softplus(0.000) = 0.691" in capsys.readouterr().out
