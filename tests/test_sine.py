import random

from celosia.reference.functions import functions
from celosia.rtl.functions.sine import Sine
from celosia.sim import bench


def test_matches_reference():
    chooser = random.Random(1)
    edges = [(q << 30) + d & 0xFFFFFFFF for q in range(4) for d in (0, 1, 1 << 14, -1, -(1 << 14))]
    phases = (
        edges + [s << 22 for s in range(1024)] + [chooser.randrange(1 << 32) for _ in edges * 50]
    )
    expected = functions.sine(phases).tolist()
    cases = [{"inputs": phases, "stall": stall, "seed": 1} for stall in (0.0, 0.5)]
    results = bench.run_many(Sine(), cases)
    assert [r.outputs["o"] for r in results] == [expected] * 2
    assert (results[0].latency, results[0].cycles) == (5, len(phases) + 5)
    assert {1 << 14, 0, -(1 << 14)} <= set(expected)
