import pytest
from amaranth import signed
from celosia.rtl.stream.buffer import Buffer, Skid
from celosia.sim import bench


@pytest.mark.parametrize("unit", [Buffer, Skid])
def test_passes_everything_on(unit):
    x = [n * 37 % 200 - 100 for n in range(300)]
    cases = [
        {"inputs": {"i": x}, "counts": len(x), "stall": stall, "seed": 2}
        for stall in (0.0, 0.3, 0.7)
    ]
    assert [result.outputs["o"] for result in bench.run_many(unit(signed(8)), cases)] == [x] * 3


@pytest.mark.parametrize(("unit", "latency"), [(Buffer, 1), (Skid, 0)])
def test_latency_and_throughput(unit, latency):
    result = bench.run(unit(8), {"i": list(range(100))}, 100)
    assert (result.latency, result.cycles) == (latency, 100 + latency)
