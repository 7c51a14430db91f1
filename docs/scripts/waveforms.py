"""Waveforms of units' streams and ports, out of their simulation, for wavedrom to draw."""

from enum import Enum

from amaranth import Value
from amaranth.lib import data, stream, wiring
from amaranth.sim import Simulator
from celosia.generators.components.standard import build
from celosia.rtl.attention.softmax import Softmax
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.weight_stationary import WeightStationary
from celosia.rtl.norm.layer_norm import LayerNorm
from celosia.rtl.quantize.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.quantize.hadamard import Hadamard
from celosia.rtl.stream.reshape import Transposer, WidthConverter
from celosia.rtl.token.embedding import Embedding
from small_units import FRAME, SMALL, words

__all__ = ["WAVEFORMS", "wave_json", "waveform"]

#: Of a unit: what makes it, the payloads of its input streams, and how many cycles are shown. They
#: are those of its script in examples/components.
WAVEFORMS = {
    "weight_stationary": (
        lambda: WeightStationary(2, 2, MacFormat()),
        {
            "weights": [{"data": [5, 6], "last": 0}, {"data": [7, 8], "last": 1}],
            "i": [{"data": [1, 2], "last": 0}, {"data": [3, 4], "last": 1}],
        },
        14,
    ),
    "softmax": (
        lambda: Softmax(2, 8, 1 / 16),
        {
            "i": [
                {"data": pair, "mask": mask, "index": n, "last": int(n == 2), **FRAME}
                for n, (pair, mask) in enumerate([([16, 32], 3), ([0, 99], 1), ([48, 0], 1)])
            ]
        },
        40,
    ),
    "hadamard": (
        lambda: Hadamard(4, 2, width=8, o_width=10),
        {"i": words([0, 100], [0, 0])},
        16,
    ),
    "layer_norm": (
        lambda: LayerNorm(2, 2, width=8, epsilon=1, gains=[1 << 12] * 4, biases=[0] * 4),
        {"i": words([10, 20], [30, 40])},
        56,
    ),
    "dynamic_quantizer": (
        lambda: DynamicQuantizer(2, words=2, width=4, symmetric=False),
        {"i": words([-500, 100], [900, 0]) * 2},
        48,
    ),
    "transposer": (lambda: Transposer(2, width=8), {"i": words([1, 2], [3, 4]) * 2}, 12),
    "width_converter": (
        lambda: WidthConverter(4, 2, width=8),
        {"i": words([1, 2, 3, 4], [5, 6, 7, 8])},
        12,
    ),
    "embedding": (
        lambda: Embedding(2, rows=[[1, 2, 3, 4], [5, 6, 7, 8]], scales=[100, 200]),
        {"i": [1, 0]},
        14,
    ),
}


WAVEFORMS |= {
    name: (lambda name=name, settings=settings: build(name, settings)[0], inputs, cycles)
    for name, (settings, inputs, cycles) in SMALL.items()
}


def waveform(name):
    """What wavedrom draws of a unit in :data:`WAVEFORMS`."""
    make, inputs, cycles = WAVEFORMS[name]
    return wave_json(make(), inputs, cycles)


def wave_json(component, inputs, cycles):
    """What wavedrom draws of ``cycles`` of a component whose outputs are always taken.

    Parameters
    ----------
    component : wiring.Component
    inputs : dict
        Name of a stream -> its payloads, offered one after the other; name of a port -> its values,
        cycle by cycle, the last of which stays.
    cycles : int
        Of ports those are drawn that change in them.
    """
    members = [(n, m) for n, m in component.signature.members.items() if not m.dimensions]
    streams = {
        name: (member.flow == wiring.In, getattr(component, name))
        for name, member in members
        if not member.is_port and isinstance(member.signature, stream.Signature)
    }
    ports = {name: getattr(component, name) for name, member in members if member.is_port}
    rows = {name: {"valid": [], "ready": [], "data": []} for name in streams}
    port_rows = {name: [] for name in ports}
    waiting = {name: list(payloads) for name, payloads in inputs.items()}

    async def run(ctx):
        for _ in range(cycles):
            for name in ports.keys() & waiting.keys():
                ctx.set(ports[name], waiting[name][0])
                del waiting[name][: len(waiting[name]) > 1]
            for name, (given, s) in streams.items():
                if not given:
                    if not s.signature.always_ready:
                        ctx.set(s.ready, 1)
                    continue
                ctx.set(s.valid, bool(waiting[name]))
                if waiting[name]:
                    ctx.set(s.payload, waiting[name][0])
            for name, (given, s) in streams.items():
                valid, ready = ctx.get(s.valid), ctx.get(s.ready)
                rows[name]["valid"].append(valid)
                rows[name]["ready"].append(ready)
                shown = _text(ctx.get(getattr(s.payload, "data", s.payload)))
                rows[name]["data"].append(shown if valid else None)
                if given and valid and ready:
                    waiting[name].pop(0)
            for name, port in ports.items():
                port_rows[name].append(_text(ctx.get(port)))
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    clock = {"name": "clk", "wave": "p" + "." * (cycles - 1)}
    changing = {name: row for name, row in port_rows.items() if len(set(row)) > 1}
    drawn = [_port(name, row, len(Value.cast(ports[name])) == 1) for name, row in changing.items()]
    return {"signal": [clock, *_drawn(rows), *drawn], "config": {"hscale": 2}}


def _text(value):
    """A payload's values, of a structure with their names; of a command what is not 0."""
    if isinstance(value, Enum):
        return value.name
    if not isinstance(value, data.Const):
        return str(value)
    layout = value.shape()
    parts = [(key, value[key]) for key, _ in layout]
    if isinstance(layout, data.ArrayLayout):
        return " ".join(_text(part) for _, part in parts)
    if any(isinstance(part, Enum) for _, part in parts):
        parts = [(key, part) for key, part in parts if isinstance(part, Enum) or part]
    return " ".join(_text(p) if isinstance(p, Enum) else f"{key} {_text(p)}" for key, p in parts)


def _drawn(rows):
    """A group for each stream: its handshake, and its values while it is valid."""
    for name, row in rows.items():
        bits = [{"name": what, "wave": _wave(row[what])} for what in ("valid", "ready")]
        yield [name, *bits, _values("data", row["data"])]


def _port(name, row, bit):
    """A port of one bit, or one with values."""
    return {"name": name, "wave": _wave(row)} if bit else _values(name, row)


def _values(name, row):
    """What a signal shows, nothing where it is None."""
    values = [v for n, v in enumerate(row) if v is not None and (n == 0 or v != row[n - 1])]
    wave = _wave(row, lambda value: "x" if value is None else "=")
    return {"name": name, "wave": wave, "data": values}


def _wave(values, sign=str):
    """The values' signs, a full stop where one is as before."""
    last, found = object(), []
    for value in values:
        found.append("." if value == last else sign(value))
        last = value
    return "".join(found)
