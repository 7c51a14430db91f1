"""A timeline of a run's last pass, out of its trace: who worked, and what the fabric waited for."""

__all__ = ["timeline"]

STEPS = 2000  # parts that a row is divided into: shorter slices are joined
COLOURS = {"linear": "#4878a8", "scores": "#7aa6d0", "values": "#a9c8e6", "embedding": "#93b5c6"}
WAITING = "#d9843b"  # causes without a beat
UNIT = "#6b9a58"
FABRIC = 1  # its row in a trace; that of the passes is 0


def timeline(events):
    """Rows of slices of the last pass, in parts of :data:`STEPS`.

    Parameters
    ----------
    events : list of celosia.page.schemas.Event

    Returns
    -------
    dict or None
        ``title``, ``cycles``, and ``rows``: ``(name, [(colour, start, width, text), ...])``. None
        where the trace has no pass.
    """
    slices = [event for event in events if event.ph == "X"]
    passes = [event for event in slices if event.tid == 0 and event.dur > 0]
    if not passes:
        return None
    last = max(passes, key=lambda event: event.ts)
    names = {e.tid: str(e.args.get("name", "")) for e in events if e.ph == "M"}
    rows = {tid: [] for tid in sorted(names) if tid >= FABRIC}
    for event in slices:
        start = max(event.ts, last.ts)
        stop = min(event.ts + event.dur, last.ts + last.dur)
        if event.tid in rows and stop > start:
            begin, end = (STEPS * (t - last.ts) / last.dur for t in (start, stop))
            _join(rows[event.tid], _colour(event), begin, end, event.name)
    found = [(names[tid], row) for tid, row in rows.items() if row]
    shown = [
        (name, [(colour, a, max(b - a, 0.5), text) for colour, a, b, text in row])
        for name, row in found
    ]
    return {"title": last.name, "cycles": last.dur, "rows": shown, "steps": STEPS}


def _colour(event):
    return COLOURS.get(event.name, WAITING) if event.tid == FABRIC else UNIT


def _join(row, colour, begin, end, text):
    """Add a slice to a row: to its last slice, if that is near and has the colour."""
    if row and row[-1][0] == colour and begin - row[-1][2] < 1:
        end = max(end, row[-1][2])
        row[-1] = (colour, row[-1][1], end, row[-1][3])
    else:
        row.append((colour, begin, end, text))
