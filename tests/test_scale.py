import numpy as np
import pytest
from amaranth.hdl import unsigned
from celosia.reference.units.scale import ONE, scale
from celosia.rtl.mac.scale import Scale
from celosia.sim import bench


def words(lanes, acc_width, tokens, seed):
    """Edges, then seeded random words of every magnitude."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << (acc_width - 1)), (1 << (acc_width - 1)) - 1
    for shift in (-128, -1, 2, 3, 4, 12, 15, 19, 30, 31, 63, 64, 127):
        for mantissa in (0, 1, ONE // 2, ONE):
            acc = rng.choice([low, high, -1, 0, 1, low >> 9, high >> 9], lanes)
            row_scale = rng.choice([0, 1, 1 << 15, 65535], lanes)
            yield acc, row_scale, mantissa, shift
    for _ in range(300):
        acc = rng.integers(low, high + 1, lanes) >> rng.integers(0, acc_width, lanes)
        shift = int(rng.integers(0, 36))
        yield acc, rng.integers(0, 1 << 16, lanes), int(rng.integers(0, ONE + 1)), shift


def payloads(lanes, acc_width, tokens, seed):
    rng = np.random.default_rng(seed + 1)
    for n, (acc, row_scale, mantissa, shift) in enumerate(words(lanes, acc_width, tokens, seed)):
        frame = {
            "token": n % tokens,
            "index": int(rng.integers(0, 1 << 20)),
            "argument": n % 256,
            "last": n % 5 == 0,
            "kind": n % 16,
        }
        most = 127 if acc_width > 47 else 63
        scales = {"row_scale": row_scale, "mantissa": mantissa, "shift": min(max(shift, 3), most)}
        yield {"data": acc, **frame, **scales}


def expected(payload):
    p = dict(payload)
    data = scale(p.pop("data"), p.pop("row_scale"), p.pop("shift"), p.pop("mantissa"), width=24)
    return p | {"data": data.tolist()}


@pytest.mark.parametrize(
    ("lanes", "acc_width", "tokens", "portable"),
    [
        (4, 32, 1, True),
        (8, 24, 4, False),
        (2, 47, 2, False),
        pytest.param(8, 56, 1, False, marks=pytest.mark.slow),
    ],
)
def test_matches_reference(lanes, acc_width, tokens, portable):
    inputs = [*payloads(lanes, acc_width, tokens, seed=acc_width)]
    y = [expected(p) for p in inputs]
    assert {-8388480, 8388480} <= {v for word in y for v in word["data"]}  # saturated
    cases = [{"inputs": inputs, "stall": stall, "seed": 2} for stall in (0.0, 0.5)]
    unit = Scale(lanes, acc_width, tokens, portable, kind=unsigned(4))
    free, stalled = bench.run_many(unit, cases)
    assert free.outputs["o"] == y
    assert stalled.outputs["o"] == y
    assert (free.latency, free.cycles) == (Scale.latency, len(y) + Scale.latency)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 32), "lanes must be from 1 to 64, not 0"),
        ((4, 57), "acc_width must be from 8 to 56, not 57"),
        ((4, 32, 0), "tokens must be from 1 to 64, not 0"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Scale(*arguments)
