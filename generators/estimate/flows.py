"""How long words are on their way from the collector to the memory at their route's end."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from celosia.rtl.machine.routes import SINKS, route_units, routes_of, told

__all__ = ["Flow", "flows_of"]

BUFFER = 1  # a stage of :class:`celosia.rtl.stream.buffer.Buffer`, of Merge, of Queue
SCALE = 4


@dataclass(frozen=True)
class Flow:
    """The way of a route's words.

    Parameters
    ----------
    parts : tuple of (int, int, int, bool)
        One after the other: a latency; the words of a vector that waits for its last one, or 0;
        the words that become one; whether all tokens' vectors wait for each other.
    sink : str
        Of :data:`celosia.rtl.machine.routes.SINKS`.
    scalar : int
        Cycles from a vector's last normed word to the scalar, in the residual stream; else 0.
    turns : bool
        Whether the words are rotated, by a table that must be complete.
    """

    parts: tuple
    sink: str
    scalar: int = 0
    turns: bool = False

    @property
    def gathered(self):
        """Words of a token that must have come before any arrives."""
        joined = np.cumprod([part[2] for part in self.parts])
        return max(1, *(n * part[1] for n, part in zip(joined.tolist(), self.parts, strict=True)))

    def arrivals(self, times, tokens):
        """When each word arrives, int[words]: those of ``tokens`` in turn, given at ``times``."""
        for latency, vector, joined, together in self.parts:
            if joined > 1:
                times = times.reshape(-1, joined, tokens)[:, -1].ravel()
            if vector:
                whole = times.reshape(-1, vector, tokens)
                ready = np.full(whole.shape, -1, np.int64)
                ready[:, 0] = whole[:, -1, -1:] if together else whole[:, -1]
                places = np.arange(times.size)
                times = np.maximum.accumulate(ready.ravel() - places) + places
            times = times + latency
        return times


_KNOWN = {}  # what was found, by all that it depends on


def flows_of(sketch):
    """The :class:`Flow` of each route of a :class:`Sketch`'s program; the units; by their names."""
    shape, program = sketch.shape, sketch.program
    routes = routes_of(shape, program)
    sizes = shape.lanes, shape.gate_lanes, shape.head_words, shape.dim_words
    sizes += (any(program.bias_words),)
    key = repr((sizes, [(route.name, route.sink, *map(_form, route.units)) for route in routes]))
    if key not in _KNOWN:
        _KNOWN[key] = _found(shape, program, {route.name: route for route in routes})
    return _KNOWN[key]


def _form(unit):
    """What latencies depend on, of a unit's settings: of arrays no more than their sizes."""
    settings = [
        (name, (len(x), np.size(x[0])) if isinstance(x, tuple) else x) for name, x in unit.settings
    ]
    return unit.kind, unit.name, settings


def _found(shape, program, routes):
    size = shape.dim_words * shape.lanes
    norms = 1 + max(step.get("norm", 0) for step in program.steps)
    units = route_units(SimpleNamespace(shape=shape, program=program, gains=[[0] * size] * norms))
    told(units.values(), program)
    start = BUFFER + SCALE + any(program.bias_words) + BUFFER
    joined = {route.sink for route in routes.values()} - SINKS.keys()
    flows = {}
    for name, route in routes.items():
        parts, scalar = [(start, 0, 1, False)], 0
        turns = any(unit.kind == "rope" for unit in route.units)
        while True:
            parts += [(BUFFER, 0, 1, False)] if route.name in joined else []
            for unit in route.units:
                if unit.kind == "norm":
                    norm = units[unit.name]
                    scalar = norm.scalar_latency - norm.latency
                parts.append(_part(units[unit.name], unit.kind))
            if route.sink in SINKS:
                break
            route = routes[route.sink]
        flows[name] = Flow(tuple(parts), route.sink, scalar, turns)
    return flows, units


def _part(unit, kind):
    """What :attr:`Flow.parts` says of a unit."""
    latency, joined = getattr(unit, "latency", 0), 2 if kind == "gate" and unit.gated else 1
    if kind == "hadamard":
        words = unit.size // unit.lanes
        return latency, words if words > 1 else 0, joined, True
    vector = {"head_quantize": "head_words", "stream_norm": "words"}.get(kind)
    return latency, getattr(unit, vector) if vector else 0, joined, False
