import pytest
from amaranth import signed
from celosia.rtl.stream.block_queue import BlockQueue
from celosia.sim import bench


@pytest.mark.parametrize("depth", [2, 5, 16])
def test_passes_everything_on(depth):
    x = [n * 37 % 200 - 100 for n in range(300)]
    cases = [
        {"inputs": {"i": x}, "counts": len(x), "stall": stall, "seed": seed}
        for stall in (0.0, 0.3, 0.7, 0.9)
        for seed in (2, 3)
    ]
    results = bench.run_many(BlockQueue(signed(8), depth), cases)
    assert [result.outputs["o"] for result in results] == [x] * len(cases)


def test_latency_and_throughput():
    result = bench.run(BlockQueue(8, 5), {"i": list(range(100))}, 100)
    assert (result.latency, result.cycles) == (BlockQueue.latency, 102)


@pytest.mark.parametrize("depth", [1, 65537])
def test_depth(depth):
    with pytest.raises(ValueError, match=f"depth must be from 2 to 65536, not {depth}"):
        BlockQueue(8, depth)
