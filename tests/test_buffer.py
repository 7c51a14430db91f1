import pytest
from amaranth import signed
from celosia.rtl.buffer import Buffer
from celosia.sim import bench


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
def test_passes_everything_on(stall):
    x = [n * 37 % 200 - 100 for n in range(300)]
    y, _ = bench.run(Buffer(signed(8)), x, stall=stall)
    assert y == x


def test_latency_and_throughput():
    _, cycles = bench.run(Buffer(8), list(range(100)))
    assert cycles == 100 + 1
