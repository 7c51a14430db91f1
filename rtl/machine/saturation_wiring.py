"""The machine's counters of saturated values, wired: what each of them watches."""

from amaranth import Cat, Const, Mux
from celosia.rtl.attention.softmax_block import own_lanes, seen_lanes
from celosia.rtl.machine.controller import SATURATED

__all__ = ["wire_saturations"]


def wire_saturations(m, machine, u):
    """Every value on its way into a format of fewer bits to the counter of that format."""
    ports = {
        "residual": u.residual.o,
        "activations": u.merge.o,
        "values": u.value_words.i,
        "heads": u.rope.o,
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
    # Ups have 18 bits, gates 20: an up's largest value, with two ones behind it, is a gate's.
    is_up = u.gate.i.p.index[0]
    values["gates"] = Cat(
        Mux(is_up, Cat((~x[-1]).replicate(2), x).as_signed(), x) for x in u.gate.i.p.data
    )
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
