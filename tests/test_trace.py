"""Timelines: stretches of equal cause, units' busy stretches, passes and tokens."""

import json

import numpy as np
from celosia.rtl.machine.run_counters import Cause
from celosia.sim.trace import trace_events, write_trace

UNITS = ("collector", "residual", "rope", "softmax", "swiglu", "quantizer", "sampler")


def word(cause=Cause.CONTROL, run=1, **units):
    bits = sum(1 << 5 + UNITS.index(name) for name in units)
    return cause.value | run << 4 | bits


ACTIVITY = [
    (0, word(run=0)),
    (10, word(Cause.EMBEDDING)),
    (12, word(Cause.LINEAR)),
    (15, word(Cause.LINEAR, residual=1)),
    (16, word(Cause.LINEAR)),
    (19, word(Cause.LINEAR, residual=1)),
    (21, word(Cause.TAPE)),
    (30, word(Cause.LINEAR, residual=1, sampler=1)),
    (31, word(run=0)),
]


def events(activity=ACTIVITY):
    cycles = np.array([cycle for cycle, _ in activity], np.uint64)
    values = np.array([value for _, value in activity], "<u2").view(np.uint8).reshape(-1, 2)
    passes = [(0, 4, 20, 11), (4, 1, 31, 11)]
    return trace_events((cycles, values), passes, ["'Once'"], 40, UNITS)


def row(name, found):
    """``(name, start, cycles)`` of a row's slices."""
    rows = {e["args"]["name"]: e["tid"] for e in found if e["ph"] == "M"}
    slices = [e for e in found if e["ph"] == "X" and e["tid"] == rows[name]]
    return [(e["name"], e["ts"], e["dur"]) for e in slices]


def test_causes():
    assert row("fabric", events()) == [
        ("embedding", 10, 2),
        ("linear", 12, 9),
        ("tape", 21, 9),
        ("linear", 30, 1),
    ]


def test_short_pauses_are_bridged():
    assert row("residual", events()) == [("residual", 15, 6), ("residual", 30, 1)]
    assert row("sampler", events()) == [("sampler", 30, 1)]
    assert row("rope", events()) == []


def test_a_unit_busy_to_the_end():
    assert row("rope", events([(3, word(rope=1))])) == [("rope", 3, 37)]
    assert row("fabric", events([(3, word())])) == [("control", 3, 37)]


def test_passes_and_tokens():
    found = events()
    assert row("passes", found) == [("position 0", 9, 11), ("position 4", 20, 11)]
    markers = [(e["name"], e["ts"]) for e in found if e["ph"] == "i"]
    assert markers == [("'Once'", 31)]


def test_nothing_recorded():
    assert row("fabric", events([])) == []


def test_file(tmp_path):
    write_trace(tmp_path / "trace.json", events())
    read = json.loads((tmp_path / "trace.json").read_text())
    assert read["traceEvents"] == events()
