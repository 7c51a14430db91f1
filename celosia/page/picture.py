"""The picture of a machine: what feeds the fabric, and the way of its results, route by route."""

from celosia.page.templates import render

__all__ = ["machine_picture"]

#: A colour for each memory: a route ends in it, and the fabric reads it again.
COLOURS = {
    "activations": "#cfe3f7",
    "queries": "#d9ecd0",
    "keys": "#fbe3c0",
    "values": "#f6d3d3",
    "scores": "#e3d7f2",
    "sampler": "#f2f2b8",
    "experts": "#d5efec",
}
UNITS = ("sampler", "experts")  # ends that are no memory
PLACES = {"axi": "weights behind AXI4", "sdram": "weights in SDRAM", "on_chip": "weights on chip"}
LEFT, FABRIC, SCALE, ROUTES, SINK, RIGHT = 16, 206, 366, 486, 862, 1000
TOP, ROW, BOX = 96, 50, 34


def machine_picture(machine):
    """An SVG drawing of a machine of the main kind, of its ``report.json``.

    Parameters
    ----------
    machine : celosia.page.schemas.Machine

    Returns
    -------
    str
        Without routes (the compact machine has one datapath and none) it is empty.
    """
    routes = [r for r in machine.shape.routes if r.name in machine.routes]
    if not routes:
        return ""
    ends = [sink for route in routes for sink in _memories(route.sink)]
    memories = [name for name in COLOURS if name in ends and name not in UNITS]
    height = TOP + ROW * max(len(routes), len(memories)) + 74
    middle = TOP + ROW * max(len(routes), len(memories)) / 2 - (ROW - BOX) / 2
    s = machine.shape
    boxes = [
        _box(FABRIC, middle - 45, 130, 90, "MAC fabric", _product(s), "fabric"),
        _box(SCALE, middle - 30, 90, 60, "scale", f"{s.lanes} lanes", "unit"),
        _box(FABRIC, 16, 130, 44, "weight tape", _size(machine, "weights"), "memory"),
        _box(SCALE, 16, 90, 44, "row scales", _size(machine, "scales"), "memory"),
    ]
    lines = [
        (FABRIC + 65, 60, FABRIC + 65, middle - 45),
        (SCALE + 45, 60, SCALE + 45, middle - 30),
        (FABRIC + 130, middle, SCALE, middle),
        (SCALE + 90, middle, SCALE + 105, middle),
    ]
    for n, name in enumerate(memories):
        y = TOP + ROW * n
        boxes.append(_box(LEFT, y, 130, BOX, name, "", "memory", COLOURS[name]))
        lines.append((LEFT + 130, y + BOX / 2, FABRIC, middle + 6 * (n - len(memories) / 2 + 0.5)))
    for n, route in enumerate(routes):
        _route(route, TOP + ROW * n, boxes, lines)
    labels = [(SINK - 8, TOP + ROW * n + BOX / 2 - 5, r.name) for n, r in enumerate(routes)]
    bus = SCALE + 105, TOP + BOX / 2, TOP + ROW * (len(routes) - 1) + BOX / 2
    y = height - 56
    for n, name in enumerate(("host link", "controller", "sequencer")):
        boxes.append(_box(FABRIC + 140 * n, y, 110, BOX, name, "", "unit"))
        lines.append((FABRIC + 140 * n - 30, y + BOX / 2, FABRIC + 140 * n, y + BOX / 2))
    place = PLACES.get(str(machine.config.get("memory")), "")
    names = {"title": f"A machine for {machine.model.get('name', '')}", "place": place}
    size = {"width": RIGHT, "height": height, "left": LEFT, "y": y + BOX / 2, "sink": SINK}
    return render("machine.svg", boxes=boxes, lines=lines, labels=labels, bus=bus, **names, **size)


def _route(route, y, boxes, lines):
    """A row: its units, and the memories at its end."""
    x = ROUTES
    for unit in route.units:
        boxes.append(_box(x, y, 112, BOX, unit.name.replace("_", " "), "", "unit"))
        lines.append((x - 15, y + BOX / 2, x, y + BOX / 2))
        x += 127
    sinks = _memories(route.sink)
    lines.append((x - 15, y + BOX / 2, SINK, y + BOX / 2))
    width = (RIGHT - 16 - SINK - 4 * (len(sinks) - 1)) / len(sinks)
    for n, name in enumerate(sinks):
        place = SINK + n * (width + 4)
        kind = "unit" if name in UNITS else "memory"
        boxes.append(_box(place, y, width, BOX, name, "", kind, COLOURS.get(name, "#eee")))


def _memories(sink):
    """Queries and keys may share a route, whose end is called heads."""
    return ("queries", "keys") if sink == "heads" else (sink,)


def _box(x, y, width, height, title, below, kind, colour=None):
    box = {"x": x, "y": y, "width": width, "height": height, "kind": kind, "colour": colour}
    lines = [(title, y + height / 2 + (-3 if below else 4))]
    return box | {"lines": lines + ([(below, y + height / 2 + 13)] if below else [])}


def _product(s):
    return f"{s.rows} x {s.lanes}" + (f" x {s.tokens}" if s.tokens > 1 else "")


def _size(machine, tape):
    found = machine.memory_map.get(tape)
    return f"{found.bytes:,} bytes" if found else ""
