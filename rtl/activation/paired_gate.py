"""The gate of a machine with few multipliers: half a word of gates and ups at a time."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from celosia.reference.units.gate import GATE_FRACTION
from celosia.rtl.activation.gate import Gate, activated, multiplied, rounded
from celosia.rtl.stream.pipeline import Pipeline, clamp

__all__ = ["PairedGate"]


class PairedGate(wiring.Component):
    """What a gated :class:`celosia.rtl.activation.gate.Gate` does for one token, in half the lanes.

    Of two words that it gets one holds gates, so that it may take two cycles for a result: it does
    the first half of the lanes, then the other one. Bit-exact with
    :func:`celosia.reference.units.gate.gate`.

    Latency one cycle more than the Gate's. Throughput 1 word per cycle, if gates and ups come in
    turn.

    Parameters
    ----------
    lanes : int, even, 2 to 64
    fraction, activation
        As for the Gate.
    more
        Further members of the words, name to shape: those of the up word are passed on.

    Members
    -------
    i : In(stream of framed(lanes, 24))
        A word of even index, then that of the next odd one.
    o : Out(stream of framed(lanes, 23))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    gated, tokens = True, 1

    def __init__(self, lanes, fraction=GATE_FRACTION, activation="silu", **more):
        whole = Gate(lanes, 1, fraction, activation, **more)
        if lanes % 2:
            raise ValueError(f"lanes must be even, not {lanes}")
        self.lanes, self.at_once = lanes, lanes // 2
        self.fraction = fraction
        self.activation = activation
        self.more = more
        self.latency = whole.latency + 1
        super().__init__({name: whole.signature.members[name] for name in ("i", "o")})

    def elaborate(self, platform):
        m = Module()
        names = ("token", "index", "argument", "last", *self.more)
        halves = self._halves(m, names)
        pipe = Pipeline(m, halves, self.o)
        frame = {name: halves.p[name] for name in (*names, "upper")}
        gates, frame["ups"] = list(halves.p.gates), list(halves.p.ups)
        y, _, _, frame = activated(m, pipe, self.activation, self.fraction, gates, frame, gates)
        ups, index = frame.pop("ups"), frame["index"][1:]
        y, frame = multiplied(m, pipe, y, ups, {**frame, "index": index})
        upper, frame = rounded(m, pipe, y, frame)
        lower = [Signal.like(value) for value in upper]
        with m.If(pipe.advance):
            m.d.sync += [a.eq(b) for a, b in zip(lower, upper, strict=True)]
        pipe.valid = pipe.valid & frame.pop("upper")
        pipe.finish({**frame, "data": [*lower, *upper]})
        return m

    def _halves(self, m, names):
        """A stream of half as many gates and ups: two for each word of ups."""
        word, width = self.i.p, 18 if self.activation == "relu2" else 20
        values = {"gates": signed(width), "ups": signed(18)}
        layouts = {name: data.ArrayLayout(shape, self.at_once) for name, shape in values.items()}
        frame = {name: word[name].shape() for name in names}
        halves = stream.Signature(data.StructLayout({**layouts, **frame, "upper": 1})).create()
        gates = [Signal(signed(width), name=f"gate_{n}") for n in range(self.lanes)]
        lower, upper, waiting = (Signal(halves.p.shape()) for _ in range(3))
        is_up, pending = word.index[0], Signal()
        for half, n in ((lower, 0), (upper, self.at_once)):
            ups = [clamp(value, 18) for value in list(word.data)[n : n + self.at_once]]
            m.d.comb += [
                *(half[name].eq(word[name]) for name in names),
                *(a.eq(b) for a, b in zip(half.gates, gates[n : n + self.at_once], strict=True)),
                *(a.eq(b) for a, b in zip(half.ups, ups, strict=True)),
                half.upper.eq(n > 0),
            ]
        m.d.comb += [
            halves.p.eq(Mux(pending, waiting, lower)),
            halves.valid.eq(pending | (self.i.valid & is_up)),
            self.i.ready.eq(~is_up | (halves.ready & ~pending)),
        ]
        with m.If(halves.ready):
            m.d.sync += pending.eq(~pending & self.i.valid & is_up)
        with m.If(self.i.valid & ~is_up):
            m.d.sync += [a.eq(clamp(b, width)) for a, b in zip(gates, word.data, strict=True)]
        with m.If(self.i.valid & self.i.ready & is_up):
            m.d.sync += waiting.eq(upper)
        return halves
