import math

import numpy as np
import pytest
from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.functions import functions
from celosia.reference.functions.tables import GATING_REACH
from celosia.reference.units.gate import ACTIVATIONS, activation_fraction, gate
from celosia.rtl.activation.gate import Gate
from celosia.rtl.activation.gating import gating
from celosia.rtl.activation.paired_gate import PairedGate
from celosia.rtl.stream.pipeline import Pipeline
from celosia.sim import bench
from framing import frame

EDGES = [0, 1, -1, (1 << 16) - 1, 1 << 16, -(1 << 16), 1 - (1 << 16)]
EDGES += [(1 << 15) - 1, 1 << 15, -(1 << 15), 1 - (1 << 15)]
EDGES += [(1 << 19) - 1, 1 << 19, -(1 << 19), -(1 << 19) - 1, (1 << 17) - 1, 1 << 17, -(1 << 17)]
EDGES += [-(1 << 17) - 1, (1 << 23) - 1, -(1 << 23)]


def operation(seed, words, tokens, lanes):
    """Gates and ups int[words, tokens, lanes]: every edge beside every other, and random values."""
    chooser = np.random.default_rng(seed)
    size = words * tokens * lanes
    x, up = (
        chooser.integers(-1 << 23, 1 << 23, size) >> chooser.integers(0, 20, size) for _ in "xu"
    )
    n = min(len(EDGES) ** 2, size)
    x[:n], up[:n] = (np.resize(column, n) for column in np.meshgrid(EDGES, EDGES))
    return x.reshape(words, tokens, lanes), up.reshape(words, tokens, lanes)


@pytest.mark.parametrize(
    ("lanes", "tokens", "fraction", "activation", "gated"),
    [
        pytest.param(8, 1, 12, "silu", True, marks=pytest.mark.slow),
        (2, 4, 7, "silu", True),
        (2, 2, 12, "gelu", False),
        (4, 1, 9, "gelu_tanh", True),
        (3, 2, 12, "relu", True),
        pytest.param(4, 1, 12, "relu", False, marks=pytest.mark.slow),
        (4, 2, 10, "relu2", True),
        pytest.param(8, 1, 12, "relu2", False, marks=pytest.mark.slow),
    ],
)
def test_matches_reference(lanes, tokens, fraction, activation, gated):
    inputs, expected = [], []
    for seed, (argument, n) in enumerate(
        [(14, tokens), (0, 1), (1, tokens), (20, tokens), (31, 1)]
    ):
        x, up = operation(seed, 512 // n // lanes, n, lanes)
        words = np.stack([x, up], axis=1).reshape(-1, n, lanes) if gated else x
        inputs += frame(words, argument)
        y = gate(x, up if gated else None, argument, 23, activation, fraction)
        expected += frame(y, argument)
    cases = [
        {"inputs": inputs, "counts": len(expected), "stall": stall, "seed": 1}
        for stall in (0.0, 0.5)
    ]
    unit = Gate(lanes, tokens, fraction, activation, gated)
    results = bench.run_many(unit, cases)
    for result in results:
        assert result.outputs["o"] == expected
    fast = results[0]
    assert fast.first_cycle["o"] == (tokens if gated else 0) + unit.latency
    assert fast.cycles == len(inputs) + unit.latency


@pytest.mark.parametrize(
    ("lanes", "fraction", "activation"),
    [(4, 7, "silu"), (2, 12, "relu2"), pytest.param(8, 9, "relu", marks=pytest.mark.slow)],
)
def test_half_of_the_lanes_at_a_time(lanes, fraction, activation):
    inputs, expected = [], []
    for seed, argument in enumerate([14, 0, 31, 20]):
        x, up = operation(seed, 512 // lanes, 1, lanes)
        inputs += frame(np.stack([x, up], axis=1).reshape(-1, 1, lanes), argument)
        expected += frame(gate(x, up, argument, 23, activation, fraction), argument)
    cases = [
        {"inputs": inputs, "counts": len(expected), "stall": stall, "seed": 1}
        for stall in (0.0, 0.5, 0.9)
    ]
    unit = PairedGate(lanes, fraction, activation)
    results = bench.run_many(unit, cases)
    for result in results:
        assert result.outputs["o"] == expected
    assert results[0].first_cycle["o"] == 1 + unit.latency
    assert results[0].cycles == len(inputs) + unit.latency


class Shares(wiring.Component):
    """The stages of ``gating`` on their own: the shares of two values, and the first value."""

    def __init__(self, activation, left):
        self.activation, self.left = activation, left
        shares = {"share": data.ArrayLayout(unsigned(17), 2), "x": signed(20)}
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(signed(20), 2))),
                "o": Out(stream.Signature(data.StructLayout(shares))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        values = list(self.i.p)
        shares, (x,) = gating(m, pipe, values, self.left, self.activation, [values[0]])
        shares, x = pipe.stage(shares, x)
        pipe.finish({"share": shares, "x": x})
        return m


@pytest.mark.parametrize(("activation", "left"), [("silu", 0), ("gelu", 12), ("gelu_tanh", 3)])
def test_shares_match_reference(activation, left):
    chooser = np.random.default_rng(left)
    reach = 1 << (12 + GATING_REACH[activation] - left)  # beyond, all or nothing passes
    ends = [reach - 1, reach, reach + 1, 0, 1, (1 << 19) - 1]
    x = np.array([*ends, *(-v for v in ends), -1 << 19])
    x = np.concatenate([x, chooser.integers(-2 * reach, 2 * reach, 300)]).clip(-1 << 19)
    pairs = np.stack([x, chooser.permutation(x)], axis=-1)
    shares = functions.gating(pairs << left, activation)
    expected = [
        {"share": share, "x": a} for share, a in zip(shares.tolist(), x.tolist(), strict=True)
    ]
    cases = [{"inputs": pairs.tolist(), "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    smooth, stalled = bench.run_many(Shares(activation, left), cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    assert (smooth.latency, smooth.cycles) == (5, len(x) + 5)


def exact(activation, x):
    """``act(x)`` in float64."""
    if activation == "silu":
        return x / (1 + np.exp(-np.maximum(x, -700)))
    if activation == "gelu":
        return x * np.array([1 + math.erf(v / math.sqrt(2)) for v in x]) / 2
    if activation == "gelu_tanh":
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return np.maximum(x, 0.0) ** (2 if activation == "relu2" else 1)


@pytest.mark.parametrize("fraction", [12, 6])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_error_of_the_reference(activation, fraction):
    width = 18 if activation == "relu2" else 20
    x = np.arange(-1 << (width - 1), 1 << (width - 1), 7)
    y = gate(x, None, 0, 23, activation, fraction)
    of_y = 2.0 ** activation_fraction(activation, fraction)
    error = np.abs(y - exact(activation, x / 2.0**fraction) * of_y)
    slope, end = {"silu": (2.4e-5, 16), "relu": (0, 0), "relu2": (0, 0)}.get(
        activation, (2.1e-5, 8)
    )
    bound = np.where(np.abs(x) < end << fraction, 0.5 + slope * np.abs(x), 0.51)
    assert (error <= bound).all()
    assert activation != "relu" or not error.any()


def test_limits_of_the_reference():
    assert gate([1 << 23], None, 0, 23, "relu").tolist() == [(1 << 19) - 1]
    largest = (1 << 19) - 8  # of (2**17 - 1)**2
    assert gate([1 << 23, -5], None, 0, 23, "relu2").tolist() == [largest, 0]
    assert gate([1 << 20], [1 << 20], 0, 23).tolist() == [(1 << 22) - 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lanes": 0}, "lanes must be from 1 to 64, not 0"),
        ({"lanes": 2, "tokens": 65}, "tokens must be from 1 to 64, not 65"),
        ({"lanes": 2, "fraction": 13}, "fraction must be from 0 to 12, not 13"),
        (
            {"lanes": 2, "activation": "tanh"},
            "activation must be one of silu, gelu, gelu_tanh, relu, relu2, not 'tanh'",
        ),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gate(**arguments)
