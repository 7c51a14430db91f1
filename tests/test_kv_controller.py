"""Random commands and edges of the page table against plain Python."""

import numpy as np
import pytest
from celosia.reference.units import kv_controller as reference
from celosia.reference.units.kv_controller import Operation, Status
from celosia.rtl.kv_cache.kv_paged import KvPaged
from celosia.sim import bench

CASES = [
    {"n_blocks": 5, "block_size": 4, "n_sequences": 3, "max_blocks": 4},
    {"n_blocks": 7, "block_size": 1, "n_sequences": 4, "max_blocks": 2},
    {"n_blocks": 1, "block_size": 2, "n_sequences": 1, "max_blocks": 1},
]


def commands(seed, n, n_sequences):
    """Mostly APPENDs; every operation, also on a sequence that there is not."""
    chooser = np.random.default_rng(seed)
    top = 1 << max(1, (n_sequences - 1).bit_length())
    operation = chooser.choice(3, n, p=[0.73, 0.12, 0.15])
    sequence = chooser.integers(0, n_sequences, n)
    sequence = np.where(chooser.random(n) < 0.03, top - 1, sequence)
    length = np.where(chooser.random(n) < 0.5, 0, chooser.integers(0, 18, n))
    columns = operation, sequence, chooser.integers(0, top, n), length
    names = ("operation", "sequence", "target", "length")
    return [dict(zip(names, row, strict=True)) for row in np.stack(columns, axis=1).tolist()]


def answers(model, given):
    return [model(**command) for command in given]


@pytest.mark.parametrize("parameters", CASES)
def test_matches_reference(parameters):
    lists = [commands(seed, 250, parameters["n_sequences"]) for seed in range(6)]
    expected = [answers(reference.KvPaged(**parameters), given) for given in lists]
    cases = [
        {"inputs": given, "counts": len(e), "stall": stall, "seed": k}
        for k, (given, e) in enumerate(zip(lists, expected, strict=True))
        for stall in (0.0, 0.5)
    ]
    results = bench.run_many(KvPaged(**parameters), cases)
    for k, result in enumerate(results):
        assert result.outputs["o"] == expected[k // 2]
    seen = {answer["status"] for e in expected for answer in e}
    possible = {Status.DONE, Status.REFUSED, Status.FULL}
    if parameters["n_sequences"] > 1:
        possible |= {Status.OUT_OF_MEMORY}
        possible |= {Status.COPY} if parameters["block_size"] > 1 else set()
    assert seen == possible


def test_latency():
    parameters = {"n_blocks": 4, "block_size": 2, "n_sequences": 2, "max_blocks": 4}
    given = [{"operation": 0, "sequence": 0, "target": 0, "length": 0}] * 3
    given += [given[0] | change for change in ({"operation": 2, "target": 1}, {"operation": 1})]
    result = bench.run(KvPaged(**parameters), given, counts=5)
    taken, made = result.stream_cycles["i"], result.stream_cycles["o"]
    latencies = [b - a for a, b in zip(taken, made, strict=True)]
    assert latencies == [KvPaged.latency] * 3 + [KvPaged.latency + 1 + 2 * 5] * 2


def test_free_blocks_are_counted():
    given = commands(3, 120, 3)
    model = reference.KvPaged(**CASES[0])
    expected = answers(model, given)
    result = bench.run(KvPaged(**CASES[0]), given, counts=len(expected))
    assert result.signals["n_free"] == model.n_free
    assert model.n_free == 5 - len({block for table in model.tables for block in table})


def test_no_two_owners_write_a_slot():
    """Copy on write: what a sequence wrote stays as it was, whatever the others do."""
    model = reference.KvPaged(8, 2, 4, 4)
    store, written = {}, [[] for _ in range(4)]
    for step, command in enumerate(commands(5, 2000, 4)):
        operation, s, target, length = command.values()
        answer = model(**command)
        if operation == Operation.FREE:
            del written[s][length:]
        elif operation == Operation.FORK and answer["status"] == Status.DONE:
            written[target] = [*written[s]]
        elif operation == Operation.APPEND and answer["status"] in (Status.DONE, Status.COPY):
            slot = answer["slot"]
            if answer["status"] == Status.COPY:
                for k in range(slot % 2):
                    store[slot - slot % 2 + k] = store[answer["source"] + k]
            store[slot] = step
            written[s].append(step)
        for n, steps in enumerate(written):
            assert [store[model.slot(n, p)] for p in range(len(steps))] == steps


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_blocks", 0, "n_blocks must be from 1 to 65536, not 0"),
        ("block_size", 3, "block_size must be a power of two from 1 to 1024, not 3"),
        ("n_sequences", 0, "n_sequences must be from 1 to 64, not 0"),
        ("max_blocks", 6, "max_blocks must be a power of two from 1 to 65536, not 6"),
    ],
)
def test_parameters_out_of_range(name, value, message):
    good = {"n_blocks": 4, "block_size": 2, "n_sequences": 2, "max_blocks": 2}
    with pytest.raises(ValueError, match=message):
        KvPaged(**good | {name: value})
