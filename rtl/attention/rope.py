"""Rotary position embedding, with a table of sines and cosines that is made as it is needed."""

from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.attention.rope_angles import RopeAngles, check_rope
from celosia.rtl.stream.heads import head_place
from celosia.rtl.stream.pipeline import Pipeline, clamp, halved
from celosia.rtl.stream.words import framed

__all__ = ["Rope"]


class Rope(wiring.Component):
    """Rotates the pairs ``(2i, 2i + 1)`` of every head by the angles of the word's token.

    Values saturate to 18 bits, results to 16, in the same unit; the two products are added before
    the one rounding (half up). Bit-exact with :func:`celosia.reference.units.rope.rope` and
    :func:`celosia.reference.functions.functions.sine_cosine`. Pairs without an increment become
    zeros.

    Words wait while a position is offered and until its table is complete, which takes ``w * lanes
    * n + 14`` cycles for ``n`` tokens, where ``w`` words turn: ``head_words`` for each set, less
    those that end it without an increment above 0. The next position is accepted from then on. A
    word needs the table only in the cycle in which it is accepted: offer a position when the
    last word of the one before has been accepted.

    Latency 4 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 2 to 64
    head_words : int, 1 to 256
        Words of ``lanes`` values in one head.
    increments : sequence of 1 to 16 sets, each a sequence of int from 0 to 2**32 - 1
        Turns per position in units of 2**-32, of pairs 0, 1, ...; 1 to ``head_words * lanes / 2``,
        of all sets as many.
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of framed(lanes, 24, tokens))
        Heads one after the other from index 0. Where there are several sets, a word also has the
        number of its set, ``angles``.
    positions : In(stream of {position: unsigned(20), tokens: unsigned})
        The position of token 0, and the number of tokens, from 1 to ``tokens``.
    o : Out(stream of framed(lanes, 16, tokens))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 4

    def __init__(self, lanes, head_words, increments, tokens=1):
        check_rope(lanes, head_words, increments, tokens)
        self.lanes = lanes
        self.head_words = head_words
        self.increments = tuple(map(tuple, increments))
        self.tokens = tokens
        sets = len(self.increments)
        more = {"angles": unsigned(ceil_log2(sets))} if sets > 1 else {}
        self._angles = RopeAngles(lanes, head_words, self.increments, tokens)
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, 24, tokens, **more))),
                "positions": In(self._angles.i.signature.flip()),
                "o": Out(stream.Signature(framed(lanes, 16, tokens))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.angles = angles = self._angles
        wiring.connect(m, wiring.flipped(self.positions), angles.i)
        complete, usable = Signal(), Signal()
        m.d.comb += usable.eq(complete & ~self.positions.valid)
        with m.If(angles.o.valid & angles.o.p.last):
            m.d.sync += complete.eq(1)
        with m.If(angles.i.valid & angles.i.ready):
            m.d.sync += complete.eq(0)

        n, bits = self.lanes, ceil_log2(self.tokens)
        shape = data.ArrayLayout(signed(16), n)
        sets = len(self.increments)
        depth = max(2, self.head_words * sets << bits)
        init = [[0] * n] * depth if angles.still() else []
        for number, values in angles.still().items():
            init[number << bits : (number + 1) << bits] = [values] * (1 << bits)
        m.submodules.table = table = Memory(shape=shape, depth=depth, init=init)
        write, read = table.write_port(), table.read_port()
        m.d.comb += [
            write.addr.eq(Cat(angles.o.p.token[:bits], angles.o.p.place)),
            write.data.eq(angles.o.p.data),
            write.en.eq(angles.o.valid),
        ]

        i = stream.Signature(self.i.payload.shape()).create()
        m.d.comb += [
            i.payload.eq(self.i.payload),
            i.valid.eq(self.i.valid & usable),
            self.i.ready.eq(i.ready & usable),
        ]
        pipe = Pipeline(m, i, self.o)
        place, _ = head_place(m, i, self.head_words)
        if sets > 1:
            place = i.p.angles * self.head_words + place
        m.d.comb += [read.addr.eq(Cat(i.p.token[:bits], place)), read.en.eq(pipe.advance)]
        frame = {n: i.p[n] for n in ("token", "index", "argument", "last")}
        x, frame = pipe.stage([clamp(v, 18) for v in i.p.data], frame)
        # The multipliers' own registers are those of the next two stages.
        products = _products(m, x, read.data, pipe.advance)
        (frame,) = pipe.stage(frame)
        (frame,) = pipe.stage(frame)
        rotated = _rotated(m, products)
        frame, rotated = pipe.stage(frame, rotated)
        pipe.finish({**frame, "data": rotated})
        return m


def _products(m, x, angle, en):
    """Four products for each pair of ``x`` with its sine and cosine, two cycles later."""
    products = []
    for lane in range(0, len(x), 2):
        (even, odd), sine, cosine = x[lane : lane + 2], angle[lane], angle[lane + 1]
        pairs = ((even, cosine), (odd, sine), (even, sine), (odd, cosine))
        products += [multiply_registered(m, a, b, en) for a, b in pairs]
    return products


def _rotated(m, products):
    """The pairs that :func:`_products`, added, make."""
    totals = []
    for a, b, c, d in zip(*(products[k::4] for k in range(4)), strict=True):
        totals += [(a - b)[:34], (c + d)[:34]]  # no sine exceeds 2**14
    return [halved(m, total[13:].as_signed(), 16) for total in totals]
