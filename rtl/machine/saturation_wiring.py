"""The machine's counters of saturated values, wired: what each of them watches."""

from collections import defaultdict

from amaranth import Cat, Const, Mux
from celosia.rtl.attention.softmax_block import own_lanes, seen_lanes
from celosia.rtl.machine.run_counters import SATURATED
from celosia.rtl.recurrent.recurrent import Part, told_layout

__all__ = ["gate_width", "wire_saturations"]


def gate_width(units):
    """Bits of the gates, of the units of a machine."""
    gate = units.get("gate")
    return 18 if gate is not None and gate.activation == "relu2" else 20


def wire_saturations(m, machine, u):
    """Every value on its way into a format of fewer bits to the counter of that format."""
    ports = {
        "residual": u.residual.o,
        "activations": u.merge.o,
        "gates": u.gate.i,
        "scaled": u.scale.o,
        **_mixer(machine, u),
    }
    values = {name: port.p.data for name, port in ports.items()}
    values["gates"] = Cat(_gate(u.gate, x) for x in u.gate.i.p.data)
    values["scaled"] = Cat(Cat(limited, Const(0, 1)) for limited in u.scale.limited)
    if machine.program.attends:
        _scores(m, u, values)
    elif machine.program.recurs:
        part = told_layout()(u.recurrent.i.p.argument).part
        word = u.recurrent.i.p.data
        values["values"] = Cat(_wide(x, part == Part.RELEASE) for x in word)
    beside = _beside(m, machine, u)
    names = [name.removeprefix("saturated_") for name in SATURATED]
    for n, name in enumerate(names):
        if name not in ports:
            continue
        unit, port = getattr(u, f"saturated_{name}"), ports[name]
        m.d.comb += [
            unit.valid.eq(port.valid & port.ready),
            unit.values.as_value().eq(values[name]),
            u.controller.saturated[n].eq(sum(beside[name], unit.count)),
        ]


def _beside(m, machine, u):
    """By the names of counters what the scores add that pass beside others."""
    counts = defaultdict(list)
    for path in range(1, machine.shape.paths):
        scale, softmax = getattr(u, f"scale_{path}"), getattr(u, f"softmax_{path}")
        scores, scaled = softmax.i.p, scale.o.p
        values = {
            "scores": [
                Mux(told, x, 0)
                for told, x in zip(_counting(m, scores, softmax), scores.data, strict=True)
            ],
            "scaled": [
                Cat(limited & told, Const(0, 1))
                for told, limited in zip(_counting(m, scaled, softmax), scale.limited, strict=True)
            ],
        }
        for name, port in (("scores", softmax.i), ("scaled", scale.o)):
            unit = getattr(u, f"saturated_{name}_{path}")
            m.d.comb += [
                unit.valid.eq(port.valid & port.ready),
                unit.values.as_value().eq(Cat(values[name])),
            ]
            counts[name].append(unit.count)
    return counts


def _counting(m, word, unit):
    """The lanes of a word of scores that count; of low ones that of the token with itself."""
    seen, own = seen_lanes(m, word, unit), own_lanes(m, word, unit)
    return [a & (b | ~x[-1]) for a, b, x in zip(seen, own, word.data, strict=True)]


def _mixer(machine, u):
    """Of attention, or of states."""
    if machine.program.attends:
        values = u.value_quantize if machine.shape.value_steps else u.value_words
        return {"values": values.i, "heads": _heads(u).i, "scores": u.softmax.i}
    return {"values": u.recurrent.i} if machine.program.recurs else {}


def _scores(m, u, values):
    """Of scores those that count."""
    scores_route = u.sequencer.routes["scores"]
    scaled = u.scale.o.p
    scores = u.softmax.i.p
    values["scores"] = Cat(
        Mux(counts, x, 0)
        for counts, x in zip(_counting(m, scores, u.softmax), scores.data, strict=True)
    )
    values["scaled"] = Cat(  # two bits of a value, which are 1, the largest, or 0
        Cat(limited & (counts | (scaled.route != scores_route)), Const(0, 1))
        for counts, limited in zip(_counting(m, scaled, u.softmax), u.scale.limited, strict=True)
    )


def _heads(u):
    """Who rounds the heads; of two, that of the queries."""
    return getattr(u, "head_quantize", None) or u.head_quantize_queries


def _gate(unit, x):
    """A gate's value or an up's, 26 bits, for the limits of a gate."""
    if not unit.gated or gate_width({"gate": unit}) == 18:
        return Cat(x, x[-1].replicate(2)).as_signed()
    return _wide(x, unit.i.p.index[0])


def _wide(x, narrow):
    """A value of 20 bits in 26, or of 18 where it is ``narrow``.

    A largest value of 18, with two ones behind it, is one of 20.
    """
    wide = Cat(x, x[-1].replicate(2)).as_signed()
    return Mux(narrow, Cat((~x[-1]).replicate(2), x).as_signed(), wide)
