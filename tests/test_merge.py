import random

import pytest
from amaranth.hdl import unsigned
from celosia.rtl.stream.merge import Merge
from celosia.sim import bench


def queues(n, length):
    """For each input its payloads: its number and a serial number."""
    return {f"i.{which}": [16 * serial + which for serial in range(length)] for which in range(n)}


@pytest.mark.parametrize("n", [1, 3])
def test_every_payload_once_and_each_input_in_order(n):
    rng = random.Random(n)
    lists = [{k: v[: rng.randrange(60)] for k, v in queues(n, 60).items()} for _ in range(6)]
    cases = [
        {"inputs": inputs, "counts": sum(map(len, inputs.values())), "stall": stall, "seed": 5}
        for inputs, stall in zip(lists, (0.0, 0.5, 0.5, 0.9, 0.5, 0.5), strict=True)
    ]
    for inputs, result in zip(lists, bench.run_many(Merge(unsigned(12), n), cases), strict=True):
        for which in range(n):
            own = [payload for payload in result.outputs["o"] if payload % 16 == which]
            assert own == inputs[f"i.{which}"]


def test_first_of_several_at_once():
    inputs = queues(3, 20)
    result = bench.run(Merge(unsigned(12), 3), inputs, 60)
    assert result.outputs["o"] == [*inputs["i.0"], *inputs["i.1"], *inputs["i.2"]]
    assert (result.latency, result.cycles) == (1, 61)


def test_bad_number_of_inputs():
    with pytest.raises(ValueError, match="n must be at least 1, not 0"):
        Merge(unsigned(8), 0)
