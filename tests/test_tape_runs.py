import random

import pytest
from celosia.rtl.machine.program import Run
from celosia.rtl.machine.tape_runs import TapeRuns
from celosia.sim import bench


def random_run(rng, chosen):
    pairs = [(rng.randrange(1 << 20), rng.randrange(1, 1 << 14)) for _ in range(2)]
    return Run(*pairs, chosen)


def expected(runs, logits, numbers):
    for run in runs if logits else runs[:-1]:
        number = next(numbers) if run.chosen else 0
        yield {
            name: {"address": address + number * count, "count": count}
            for name, (address, count) in (("weights", run.weights), ("scales", run.scales))
        }


@pytest.mark.parametrize(("n", "places"), [(1, (1,)), (6, (1, 2, 4, 5)), (1024, (0, 3))])
def test_experts_lie_one_behind_the_other(n, places):
    rng = random.Random(n)
    runs = [random_run(rng, place in places) for place in range(7)]
    passes = [1, 0, 0, 1, 1]
    numbers = [rng.choice([0, n - 1, rng.randrange(n)]) for _ in range(len(places) * len(passes))]
    given = iter(numbers)
    y = [both for logits in passes for both in expected(runs, logits, given)]
    inputs = {"i": passes, "numbers": numbers}
    cases = [{"inputs": inputs, "counts": len(y), "stall": s, "seed": 1} for s in (0.0, 0.6)]
    for result in bench.run_many(TapeRuns(runs, n), cases):
        assert result.outputs["o"] == y


def test_bad_parameters():
    runs = [Run((0, 1), (0, 1))] * 2
    with pytest.raises(ValueError, match="runs must be at least 2, not 1"):
        TapeRuns(runs[:1], 2)
    with pytest.raises(ValueError, match="n must be from 1 to 1024, not 0"):
        TapeRuns(runs, 0)
