"""What each unit did in each cycle range, for the trace viewers of Chrome and Perfetto."""

import json

import numpy as np
from celosia.rtl.machine.run_counters import Cause

__all__ = ["trace_events", "write_trace"]

BRIDGED = 4  # cycles of a pause that a unit's row does not show


def trace_events(activity, passes, labels, end, units=()):
    """The events of a run; a microsecond stands for a cycle.

    Rows: the passes; the cause of each cycle (what the fabric did or waited for); each unit, busy
    while it offers words (pauses of up to 4 cycles are not shown). A marker stands where a token
    was generated.

    Parameters
    ----------
    activity : (uint64[n], uint8[n, 2])
        The cycles of changes, and the values since then.
    passes : list of (position, tokens, end, cycles)
    labels : list of str
        The generated tokens; the last passes gave them.
    end : int
        The cycle after the last one.
    units : sequence of str
        What the bits of the machine's output ``activity`` above the cause (4) and the run state (1)
        stand for.

    Returns
    -------
    list of dict
        In the Trace Event Format.
    """
    rows = ["passes", "fabric", *units]
    events = [
        {"name": "thread_name", "ph": "M", "pid": 0, "tid": row, "args": {"name": name}}
        for row, name in enumerate(rows)
    ]
    silent = len(passes) - len(labels)
    for index, (position, tokens, stop, cycles) in enumerate(passes):
        events.append(_slice(0, f"position {position}", stop - cycles, cycles, tokens=tokens))
        if index >= silent:
            name = labels[index - silent]
            events.append({"name": name, "ph": "i", "s": "p", "ts": stop, "pid": 0, "tid": 0})
    starts = activity[0].astype(np.int64)
    if len(starts):
        values = activity[1].astype(np.int64) @ (1 << 8 * np.arange(activity[1].shape[1]))
        names = {cause.value: cause.name.lower() for cause in Cause}
        running = np.where(values >> 4 & 1, values & 15, -1)  # -1: no run is under way
        for cause, start, stop in _runs(running, starts, end):
            if cause >= 0:
                events.append(_slice(1, names[cause], start, stop - start))
        for row, name in enumerate(units):
            for start, stop in _busy(values >> (5 + row) & 1, starts, end):
                events.append(_slice(2 + row, name, start, stop - start))
    return events


def write_trace(path, events):
    """Write ``events`` as JSON that Chrome (chrome://tracing) and Perfetto open."""
    with open(path, "w") as file:
        file.write('{"displayTimeUnit": "ns", "otherData": {"unit": "1 us is 1 cycle"},\n')
        file.write('"traceEvents": [\n')
        file.write(",\n".join(json.dumps(event) for event in events))
        file.write("\n]}\n")


def _slice(row, name, start, cycles, **arguments):
    event = {"name": name, "ph": "X", "ts": start, "dur": cycles, "pid": 0, "tid": row}
    return {**event, "args": arguments} if arguments else event


def _runs(values, starts, end):
    """``(value, start, stop)`` for each stretch of equal ``values``, which hold from ``starts``."""
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    begins = starts[first].tolist()
    return zip(values[first].tolist(), begins, [*begins[1:], end], strict=True)


def _busy(values, starts, end):
    """``(start, stop)`` of the stretches of ones, short pauses bridged."""
    last = None
    for value, start, stop in _runs(values, starts, end):
        if not value:
            continue
        if last is not None and start - last[1] <= BRIDGED:
            last = (last[0], stop)
        else:
            if last is not None:
                yield last
            last = (start, stop)
    if last is not None:
        yield last
