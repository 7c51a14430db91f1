"""Random commands and edges of every KV-cache controller against plain Python."""

import numpy as np
import pytest
from celosia.reference.units import kv_controller as reference
from celosia.reference.units.kv_controller import Operation, Status
from celosia.rtl.kv_cache.kv_controller import KvLinear, KvRing
from celosia.rtl.kv_cache.kv_paged import KvPaged
from celosia.sim import bench

CASES = [
    (KvLinear, {"n_slots": 5, "n_sequences": 3, "group": 2}),
    (KvRing, {"n_slots": 6, "window": 4, "n_sequences": 2, "group": 3}),
    (KvRing, {"n_slots": 1}),
    (
        KvPaged,
        {"n_blocks": 5, "block_size": 4, "n_sequences": 3, "max_blocks": 4, "group": 2},
    ),
    (KvPaged, {"n_blocks": 7, "block_size": 1, "n_sequences": 4, "max_blocks": 2}),
]


def model_of(component, parameters):
    return getattr(reference, component.__name__)(**parameters)


def commands(seed, n, n_sequences):
    """Mostly APPENDs; every operation, also on a sequence that there is not."""
    chooser = np.random.default_rng(seed)
    top = 1 << max(1, (n_sequences - 1).bit_length())
    operation = chooser.choice(4, n, p=[0.65, 0.12, 0.1, 0.13])
    sequence = chooser.integers(0, n_sequences, n)
    sequence = np.where(chooser.random(n) < 0.03, top - 1, sequence)
    return [
        {"operation": int(a), "sequence": int(b), "target": int(c)}
        for a, b, c in zip(operation, sequence, chooser.integers(0, top, n), strict=True)
    ]


def answers(model, given):
    return [answer for command in given for answer in model(**command)]


@pytest.mark.parametrize(("component", "parameters"), CASES)
def test_matches_reference(component, parameters):
    lists = [commands(seed, 250, parameters.get("n_sequences", 1)) for seed in range(6)]
    expected = [answers(model_of(component, parameters), given) for given in lists]
    cases = [
        {"inputs": given, "counts": len(e), "stall": stall, "seed": k}
        for k, (given, e) in enumerate(zip(lists, expected, strict=True))
        for stall in (0.0, 0.5)
    ]
    results = bench.run_many(component(**parameters), cases)
    for k, result in enumerate(results):
        assert result.outputs["o"] == expected[k // 2]
    seen = {answer["status"] for e in expected for answer in e}
    possible = {Status.DONE, Status.EMPTY, Status.REFUSED}
    if component is KvLinear:
        possible |= {Status.FULL}
    if component is KvPaged:
        possible |= {Status.FULL, Status.OUT_OF_MEMORY}
        possible |= {Status.COPY} if parameters["block_size"] > 1 else set()
    assert seen == possible


@pytest.mark.parametrize(
    ("component", "parameters", "append", "read"),
    [
        (KvLinear, {"n_slots": 8}, 4, 5),
        (KvRing, {"n_slots": 4, "window": 3}, 4, 5),
        (KvPaged, {"n_blocks": 4, "block_size": 2, "n_sequences": 1, "max_blocks": 4}, 7, 10),
    ],
)
def test_latency_and_throughput(component, parameters, append, read):
    given = [{"operation": 0, "sequence": 0, "target": 0}] * 3
    given.append({"operation": 1, "sequence": 0, "target": 0})
    result = bench.run(component(**parameters), given, counts=6)
    taken, made = result.stream_cycles["i"], result.stream_cycles["o"]
    assert made[0] - taken[0] == append == component.latency
    assert [cycle - taken[3] for cycle in made[3:]] == [read, read + 1, read + 2]


def test_free_blocks_are_counted():
    parameters = {"n_blocks": 5, "block_size": 4, "n_sequences": 3, "max_blocks": 4}
    given = commands(3, 120, 3)
    model = reference.KvPaged(**parameters)
    expected = answers(model, given)
    result = bench.run(KvPaged(**parameters), given, counts=len(expected))
    assert result.signals["n_free"] == model.n_free
    assert model.n_free == 5 - len({block for table in model.tables for block in table})


def test_no_two_owners_write_a_slot():
    """Copy on write: what a sequence wrote stays as it was, whatever the others append."""
    model = reference.KvPaged(8, 2, 4, 4)
    store, written = {}, [[] for _ in range(4)]
    for step, command in enumerate(commands(5, 2000, 4)):
        operation, s, target = (command[k] for k in ("operation", "sequence", "target"))
        replies = model(**command)
        status = replies[-1]["status"]
        if operation == Operation.FREE:
            written[s] = []
        elif operation == Operation.FORK and status == Status.DONE:
            written[target] = [*written[s]]
        elif operation == Operation.APPEND and status in (Status.DONE, Status.COPY):
            slot = replies[0]["slot"]
            if status == Status.COPY:
                for k in range(slot % 2):
                    store[slot - slot % 2 + k] = store[replies[0]["source"] + k]
            store[slot] = step
            written[s].append(step)
        elif operation == Operation.READ and status == Status.DONE:
            assert [store[reply["slot"]] for reply in replies] == written[s]


def test_ring_shows_the_window():
    model = reference.KvRing(6, window=4)
    for position in range(40):
        (reply,) = model(Operation.APPEND, 0)
        assert (reply["slot"], reply["first"]) == (position % 6, max(0, position - 3))
        seen = [reply["position"] for reply in model(Operation.READ, 0)]
        assert seen == [*range(max(0, position - 3), position + 1)]


@pytest.mark.parametrize(
    ("component", "name", "value", "message"),
    [
        (KvRing, "n_slots", 0, "n_slots must be from 1 to 1048576, not 0"),
        (KvRing, "window", 5, "window must be from 1 to 4, not 5"),
        (KvRing, "n_sequences", 65, "n_sequences must be from 1 to 64, not 65"),
        (KvLinear, "group", 0, "group must be from 1 to 64, not 0"),
        (KvPaged, "n_blocks", 0, "n_blocks must be from 1 to 65536, not 0"),
        (KvPaged, "block_size", 3, "block_size must be a power of two from 1 to 256, not 3"),
        (KvPaged, "n_sequences", 0, "n_sequences must be from 1 to 64, not 0"),
        (KvPaged, "max_blocks", 6, "max_blocks must be a power of two from 1 to 4096, not 6"),
        (KvPaged, "group", 65, "group must be from 1 to 64, not 65"),
    ],
)
def test_parameters_out_of_range(component, name, value, message):
    good = {"n_slots": 4}
    if component is KvPaged:
        good = {"n_blocks": 4, "block_size": 2, "n_sequences": 2, "max_blocks": 2}
    with pytest.raises(ValueError, match=message):
        component(**good | {name: value})
