"""The machine's counters of saturated values, wired: what each of them watches."""

from amaranth import Cat, Const, Mux
from celosia.rtl.attention.softmax_block import own_lanes, seen_lanes
from celosia.rtl.machine.controller import SATURATED

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
        "values": u.value_quantize.i if machine.shape.value_steps else u.value_words.i,
        "heads": _heads(u).i,
        "scores": u.softmax.i,
        "gates": u.gate.i,
        "scaled": u.scale.o,
    }
    values = {name: port.p.data for name, port in ports.items()}
    scores_route = u.sequencer.routes["scores"]
    scaled = u.scale.o.p

    def counting(word):
        """The lanes of a word of scores that count; of low ones that of the token with itself."""
        seen, own = seen_lanes(m, word, u.softmax), own_lanes(m, word, u.softmax)
        return [a & (b | ~x[-1]) for a, b, x in zip(seen, own, word.data, strict=True)]

    scores = u.softmax.i.p
    values["scores"] = Cat(
        Mux(counts, x, 0) for counts, x in zip(counting(scores), scores.data, strict=True)
    )
    values["gates"] = Cat(_gate(u.gate, x) for x in u.gate.i.p.data)
    values["scaled"] = Cat(  # two bits of a value, which are 1, the largest, or 0
        Cat(limited & (counts | (scaled.route != scores_route)), Const(0, 1))
        for counts, limited in zip(counting(scaled), u.scale.limited, strict=True)
    )
    for n, name in enumerate(SATURATED):
        unit = getattr(u, name)
        port = ports[name.removeprefix("saturated_")]
        m.d.comb += [
            unit.valid.eq(port.valid & port.ready),
            unit.values.as_value().eq(values[name.removeprefix("saturated_")]),
            u.controller.saturated[n].eq(unit.count),
        ]


def _heads(u):
    """Who rounds the heads; of two, that of the queries."""
    return getattr(u, "head_quantize", None) or u.head_quantize_queries


def _gate(unit, x):
    """A gate's value or an up's, 26 bits, for the limits of a gate."""
    wide = Cat(x, x[-1].replicate(2)).as_signed()
    if not unit.gated or gate_width({"gate": unit}) == 18:
        return wide
    # Ups have 18 bits, gates 20: an up's largest value, with two ones behind it, is a gate's.
    return Mux(unit.i.p.index[0], Cat((~x[-1]).replicate(2), x).as_signed(), wide)
