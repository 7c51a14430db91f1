"""What the operand fetcher's memories gave, chosen for a beat: weights and activations."""

from amaranth import Mux, Signal, signed
from amaranth.lib import data
from celosia.reference.units.softmax import SPAN
from celosia.rtl.mac.mac_fabric import SHARING, activation_layout
from celosia.rtl.machine.step import Operand, Source

__all__ = ["choose_block", "choose_weights"]

# Each takes the fetcher whose module ``m`` it adds to.


def choose_weights(m, fetch, fetched, offered):
    """What the memories gave, in registers: they are slow."""
    words = {"tape": fetch.tape.payload}
    if fetch.attends and not fetch.external_cache:
        words |= {"keys": fetch.keys, "values": fetch.values}
    elif fetch.attends:
        words = {"tape": fetch.tape.payload, "cached": fetch.cached.payload}
    registers = {name: Signal.like(word, name=f"{name}_word") for name, word in words.items()}
    m.d.sync += [registers[name].eq(word) for name, word in words.items()]
    tape = registers["tape"]
    keys, values = (registers.get(n, registers.get("cached")) for n in ("keys", "values"))
    if fetch.groups:
        _choose_parameters(m, fetch, offered, tape.parameters)
        tape = tape.weights
    word = tape.as_value()
    if fetch.octets:
        word, tape = tape.octets.as_value(), tape.weights
    beat = fetch.o.p.beat
    if fetch.cached_rows or not fetch.attends:
        pairs = zip(beat.weights, tape, strict=True)
        m.d.comb += [a.eq(b) for row in pairs for a, b in zip(*row, strict=True)]
        if not fetch.attends:
            return
    chosen, wide = beat.weights, None
    if fetch.cached_rows:
        chosen = beat.cached
        from_cache = ~offered.from_tape
        if fetch.wide:
            row = data.ArrayLayout(signed(fetch.wide), fetch.lanes)
            layout = data.ArrayLayout(row, fetch.cached_rows)
            wide = data.View(layout, word[: layout.size])
            from_cache |= offered.wide
        m.d.comb += beat.from_cache.eq(from_cache)
    for row, codes in enumerate(chosen):
        if row % SHARING == 0:
            operand = Signal(Operand, name=f"copy_operand_{row}")
            m.d.sync += operand.eq(fetched.operand)
        for lane in range(fetch.lanes):
            value = values[row][lane]
            if fetch.value_place:
                row_of, lane_of = fetch.value_place(row, lane)
                value = values[row_of][lane_of]
            with m.Switch(operand):
                with m.Case(Operand.KEYS):
                    m.d.comb += codes[lane].eq(keys[row][lane])
                with m.Case(Operand.VALUES) if wide or not fetch.cached_rows else m.Default():
                    m.d.comb += codes[lane].eq(value)
                if wide is not None:
                    with m.Case(Operand.WIDE):
                        m.d.comb += codes[lane].eq(wide[row][lane])
                if not fetch.cached_rows:
                    with m.Default():
                        m.d.comb += codes[lane].eq(tape[row][lane])


def _choose_parameters(m, fetch, offered, parameters):
    """Scales and offsets: an upper plane's scale is the lower's shifted, without an offset."""
    groups = fetch.groups
    for chosen, read in zip(fetch.o.p.beat.parameters, parameters, strict=True):
        upper = read.scale << groups.weight_width
        scale = Mux(offered.upper, upper, read.scale) if groups.planes else read.scale
        m.d.comb += chosen.scale.eq(Mux(offered.from_tape, scale, 1))
        if groups.offsets:
            lower = offered.from_tape & ~offered.upper
            m.d.comb += chosen.offset.eq(Mux(lower, read.offset, 0))


def choose_block(m, fetch, fetched, offered, number):
    """A token's block, one of ``parts``; exponentials are aligned when they are offered."""
    token = number // fetch.parts
    read = Signal(activation_layout(fetch.lanes), name=f"read_{number}")
    block = fetch.o.p.beat.activations[number]
    if not fetch.attends:
        m.d.sync += read.eq(fetch.activations[token])
        m.d.comb += block.eq(read)
        return
    score = fetch.scores[number]
    shift = Signal(signed(fetch.exponent_width + 2), name=f"shift_{number}")
    m.d.sync += shift.eq(score.exponent - fetch.largest[token] + SPAN)
    with m.Switch(fetched.source):
        with m.Case(Source.SCORES):
            for lane in range(fetch.lanes):
                m.d.sync += read.mantissa[lane].eq(score.power[lane])
        with m.Case(Source.QUERIES):
            m.d.sync += [read.mantissa.eq(fetch.queries[token]), read.exponent.eq(0)]
        with m.Default():
            m.d.sync += read.eq(fetch.activations[token])
    if fetch.total_width:
        total = Signal(fetch.total_width, name=f"total_{token}")
        m.d.sync += total.eq(score.total)
        m.d.comb += fetch.o.p.totals[token].eq(Mux(shift < 0, 0, total))
    m.d.comb += block.eq(read)
    with m.If(offered.source == Source.SCORES):
        m.d.comb += block.exponent.eq(Mux(shift < 0, 0, shift))
        with m.If(shift < 0):
            for lane in range(fetch.lanes):
                m.d.comb += block.mantissa[lane].eq(0)
