import numpy as np
import pytest
from celosia.reference.units.block_quantize import block_quantize
from celosia.rtl.quantize.block_quantize import BlockQuantize
from celosia.sim import bench


def payloads(lanes, width, tokens, seed):
    """Every exponent's edges, then seeded random words of every magnitude."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    blocks = [np.zeros(lanes, np.int64), np.full(lanes, -1), np.full(lanes, low)]
    for bits in range(width):
        for edge in (-(1 << bits) - 1, -(1 << bits), (1 << bits) - 1, 1 << bits):
            if low <= edge <= high:
                block = np.zeros(lanes, np.int64)
                block[bits % lanes] = edge
                blocks.append(block)
    blocks += [rng.integers(low, high + 1, lanes) >> rng.integers(0, width) for _ in range(200)]
    for n, block in enumerate(blocks):
        index = int(rng.integers(0, 1 << 20))
        frame = {"token": n % tokens, "index": index, "argument": n % 256, "last": n % 3 == 0}
        yield {"data": block, **frame}


def expected(payload, narrow=8):
    mantissa, exponent = block_quantize(payload["data"], narrow, 8 - narrow)
    return payload | {"data": mantissa.tolist(), "exponent": exponent - (8 - narrow)}


@pytest.mark.parametrize(
    ("lanes", "width", "tokens", "narrow"),
    [(8, 23, 4, 8), (2, 39, 1, 8), (4, 8, 3, 8), (4, 23, 2, 6), (2, 23, 1, 5), (4, 12, 1, 4)],
)
def test_matches_reference(lanes, width, tokens, narrow):
    inputs = [*payloads(lanes, width, tokens, seed=width)]
    y = [expected(p, narrow) for p in inputs]
    assert {word["exponent"] for word in y} == set(range(width - 7))
    cases = [{"inputs": inputs, "stall": stall, "seed": 2} for stall in (0.0, 0.5)]
    free, stalled = bench.run_many(BlockQuantize(lanes, width, tokens, narrow), cases)
    assert free.outputs["o"] == y
    assert stalled.outputs["o"] == y
    assert (free.latency, free.cycles) == (BlockQuantize.latency, len(y) + BlockQuantize.latency)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((65,), "lanes must be from 1 to 64, not 65"),
        ((4, 7), "width must be from 8 to 39, not 7"),
        ((4, 23, 0), "tokens must be from 1 to 64, not 0"),
        ((4, 23, 1, 7), "mantissa_width must be 8, 6, 5 or 4, not 7"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        BlockQuantize(*arguments)
