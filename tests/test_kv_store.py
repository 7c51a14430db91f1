import numpy as np
import pytest
from celosia.reference.units.kv_controller import KvPaged, Operation, Status
from celosia.reference.units.kv_store import KvStore as Reference
from celosia.rtl.kv_cache.kv_store import Access, KvStore
from celosia.rtl.stream.frame_guard import Guarded
from celosia.sim import bench
from framing import frame


def accesses(seed, n, n_slots, size):
    """Random accesses to slots that were written: ``(access, slot, source, vector or None)``."""
    chooser = np.random.default_rng(seed)
    written = []
    for _ in range(n):
        access = Access(int(chooser.integers(3))) if written else Access.WRITE
        slot = int(chooser.integers(n_slots))
        source = int(chooser.choice(written)) if written else 0
        x = None
        if access == Access.READ:
            slot = source
        elif access == Access.WRITE:
            x = chooser.integers(-1 << 15, 1 << 15, size) >> chooser.integers(0, 16)
        yield access, slot, source, x
        written.append(slot)


def work(model, given, lanes):
    """What the unit is given, and what it gives."""
    command, i, o = [], [], []
    for access, slot, source, x in given:
        command.append({"access": access, "slot": slot, "source": source})
        if access == Access.WRITE:
            model.write(slot, x)
            i += frame(x.reshape(-1, 1, lanes))
        elif access == Access.COPY:
            model.copy(slot, source)
        else:
            q, scale = model.read(slot)
            words = q.reshape(-1, 1, lanes)
            o += frame(words, scale=np.full(words.shape[:2], scale))
    return {"command": command, "i": i}, o


@pytest.mark.parametrize(
    ("n_slots", "lanes", "words", "width"), [(5, 2, 4, 8), (3, 4, 1, 4), (1, 2, 2, 4)]
)
def test_matches_reference(n_slots, lanes, words, width):
    cases, expected = [], []
    for seed, stall in enumerate([0.0, 0.5, 0.0, 0.5]):
        model = Reference(n_slots, lanes * words, width)
        given = accesses(seed, 150, n_slots, lanes * words)
        inputs, o = work(model, given, lanes)
        cases.append({"inputs": inputs, "counts": len(o), "stall": stall, "seed": seed})
        expected.append(o)
    results = bench.run_many(KvStore(n_slots, lanes, words, width), cases)
    assert [result.outputs["o"] for result in results] == expected


def test_reads_follow_without_a_gap():
    given = [(Access.WRITE, 0, 0, np.arange(8)), *[(Access.READ, 0, 0, None)] * 6]
    inputs, o = work(Reference(4, 8), given, 2)
    result = bench.run(KvStore(4, 2, 4), inputs, counts=len(o))
    first = result.stream_cycles["o"][0]
    assert first - result.stream_cycles["command"][1] == KvStore.latency
    assert result.stream_cycles["o"] == [*range(first, first + 24)]


@pytest.mark.parametrize(("width", "group"), [(4, 3), (8, 1)])
def test_paged_cache_gives_back_what_was_written(width, group):
    """A controller's answers as the store's accesses: shared blocks, copies on write and all.

    Every vector comes ``group`` times: once for each query head that shares it.
    """
    chooser = np.random.default_rng(width)
    pages, model = KvPaged(12, 4, 3, 4, group), Reference(48, 8, width)
    accesses, seen = [], [[] for _ in range(3)]
    for _ in range(120):
        operation = chooser.choice(4, p=[0.7, 0.1, 0.08, 0.12])
        s, target = (int(n) for n in chooser.integers(0, 3, 2))
        replies = pages(operation, s, target)
        status = replies[-1]["status"]
        if status not in (Status.DONE, Status.COPY):
            continue
        if operation == Operation.FREE:
            seen[s] = []
        elif operation == Operation.FORK:
            seen[target] = [*seen[s]]
        elif operation == Operation.APPEND:
            x = chooser.integers(-1 << 15, 1 << 15, 8)
            slot, start = replies[0]["slot"], replies[0]["slot"] // 4 * 4
            if status == Status.COPY:
                offsets = range(slot - start)
                source = replies[0]["source"]
                accesses += [(Access.COPY, start + k, source + k, None) for k in offsets]
            accesses.append((Access.WRITE, slot, 0, x))
            seen[s].append(x)
        else:
            accesses += [(Access.READ, reply["slot"], 0, None) for reply in replies]
    for s in range(3):
        replies = pages(Operation.READ, s) if seen[s] else []
        accesses += [(Access.READ, reply["slot"], 0, None) for reply in replies]
    inputs, o = work(model, accesses, 4)
    result = bench.run(KvStore(48, 4, 2, width), inputs, counts=len(o))
    assert result.outputs["o"] == o
    last = [x for vectors in seen for _ in range(group) for x in vectors]
    words = result.outputs["o"][-2 * len(last) :]
    steps = (1 << width) // 2 - 1
    for k, x in enumerate(last):
        q = np.array([word["data"] for word in words[2 * k : 2 * k + 2]]).reshape(-1)
        error = np.abs(q * words[2 * k]["scale"] / 256 - x)
        assert error.max() <= np.abs(x).max() / steps * 0.51 + 1


def test_a_guarded_store_keeps_its_place_behind_a_broken_vector():
    x = np.random.default_rng(0).integers(-1000, 1000, (3, 8))
    given = [(Access.WRITE, k, 0, v) for k, v in enumerate(x)]
    given += [(Access.READ, k, 0, None) for k in (0, 2)]
    inputs, o = work(Reference(3, 8), given, 2)
    del inputs["i"][5]  # of the second vector
    result = bench.run(Guarded(KvStore(3, 2, 4), 4), inputs, counts=len(o))
    assert result.outputs["o"] == o
    assert result.signals["error"] == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_slots", 0, "n_slots must be from 1 to 1048576, not 0"),
        ("lanes", 3, "lanes must be a power of two from 1 to 64, not 3"),
        ("words", 3, "words must be a power of two from 1 to 256, not 3"),
        ("width", 9, "width must be from 2 to 8, not 9"),
        ("x_width", 7, "x_width must be from 8 to 18, not 7"),
    ],
)
def test_parameters_out_of_range(name, value, message):
    with pytest.raises(ValueError, match=message):
        KvStore(**{"n_slots": 4, "lanes": 2, "words": 2} | {name: value})
