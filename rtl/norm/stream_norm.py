"""RMSNorm of whole vectors that stream by: each waits for its own root."""

import numpy as np
from amaranth import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.reference.units.stream_norm import FRACTION
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.functions.rsqrt import Rsqrt
from celosia.rtl.norm.gains import check_gains, read_gains
from celosia.rtl.norm.sum_of_squares import SumOfSquares
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, halved, moved
from celosia.rtl.stream.words import framed, token_width

__all__ = ["StreamNorm"]

ALIGNED = FRACTION + 1
ROOT = data.StructLayout({"mantissa": unsigned(17), "shift": unsigned(6)})
FRAME = ("token", "index", "argument", "last")


class StreamNorm(wiring.Component):
    """``x * gain / sqrt(sum(x**2) + epsilon) / 2**shift + offset`` of each vector, saturated.

    Bit-exact with :func:`celosia.reference.units.stream_norm.stream_norm`, where roundings and
    errors stand.

    Latency :attr:`latency`, 21 cycles (22 where ``lanes`` exceeds 8; one more with ``offsets`` or
    ``limit``), from a vector's last word to the first of its result. Throughput 1 word per cycle,
    vector on vector.

    Parameters
    ----------
    lanes : int, 2 to 64
    words : int, 1 to 4096
        Words in a vector.
    epsilon : int, 1 or more
        In squared units of ``x``, for the whole vector.
    gains : sequence of int16[words * lanes], 1 to 1024 of them
    shifts : sequence of int, -8 to 15
        One for each of ``gains``.
    o_width : int, 16 to 24
    offsets : sequence of int[words * lanes] of o_width bits, one for each of gains, optional
    limit : int, 1 to 2**(o_width - 1) - 1, optional
        The largest magnitude of a result.
    tokens : int, 1 to 64
        ``lanes * words * 4**23 + epsilon`` must be below ``2**62``.
    more
        Further members of the words, name to shape, which are passed on.

    Members
    -------
    i : In(stream of framed(lanes, 24, tokens, set=unsigned(10), ...))
        Whole vectors of each token, one after the other; those of several tokens word by word in
        turn, in the order of their numbers. Every ``words`` indices a vector begins: in the same
        operation or in a further one. ``set`` is the number of its gains, in each of its words. A
        group in which a token's word is missing may stop the unit for good.
    o : Out(stream of framed(lanes, o_width, tokens, ...))

    Raises
    ------
    ValueError
        If a parameter is out of range, or a sum could be.
    """

    def __init__(
        self,
        lanes,
        words,
        epsilon,
        gains,
        shifts,
        o_width=24,
        tokens=1,
        offsets=None,
        limit=None,
        **more,
    ):
        self._squares = SumOfSquares(lanes, words, 24, epsilon, tokens)
        self._rsqrt = Rsqrt(self._squares.total_width, spread=True)
        self.gains = check_gains(gains, words * lanes)
        if len(shifts) != len(gains):
            raise ValueError(f"shifts must be {len(gains)}, one for each of gains, not {shifts!r}")
        for shift in shifts:
            check_range("each of shifts", shift, -8, 15)
        check_range("o_width", o_width, 16, 24)
        for vector in [] if offsets is None else offsets:
            if np.shape(vector) != (words * lanes,) or len(offsets) != len(gains):
                raise ValueError(f"offsets must be int[{len(gains)}, {words * lanes}] as gains")
        if limit is not None:
            check_range("limit", limit, 1, (1 << o_width - 1) - 1)
        self.lanes = lanes
        self.words = words
        self.epsilon = epsilon
        self.shifts = list(shifts)
        self.offsets = offsets
        self.limit = limit
        self.o_width = o_width
        self.tokens = tokens
        self.more = more
        self._wait = self._squares.latency + self._rsqrt.latency + 1
        self.latency = self._wait + 6 + (offsets is not None or limit is not None)
        i = framed(lanes, 24, tokens, set=unsigned(10), **more)
        o = framed(lanes, o_width, tokens, **more)
        super().__init__({"i": In(stream.Signature(i)), "o": Out(stream.Signature(o))})

    def elaborate(self, platform):
        m = Module()
        word, roots = self._collected(m)
        i = self._with_roots(m, self._with_gains(m, word), roots)
        pipe = Pipeline(m, i, self.o)
        frame = {name: i.p.word[name] for name in (*FRAME, *self.more)}
        if self.offsets is not None:
            frame["offsets"] = [*i.p.offsets]

        # The factor, gain by root; beside it the value moves to the root's power of two.
        factors = [multiply_registered(m, g, i.p.root.mantissa, pipe.advance) for g in i.p.gains]
        x = [Cat(Const(0, FRACTION), v).as_signed() for v in i.p.word.data]
        x = [moved(m, v, i.p.root.shift, (4, 3), ALIGNED) for v in x]
        frame, shift, x, distance = pipe.stage(frame, i.p.shift, x, i.p.root.shift[:3])
        x = [moved(m, v, distance, (2, 1, 0), ALIGNED) for v in x]
        frame, shift, x = pipe.stage(frame, shift, x)

        # Their product, the last two bits of the value on their own: for multipliers of 18 bits.
        factors = [((f + (1 << 13)) >> 14)[:18].as_signed() for f in factors]
        pairs = zip(x, factors, strict=True)
        high = [multiply_registered(m, v[2:].as_signed(), f, pipe.advance) for v, f in pairs]
        frame, shift, rest, factors = pipe.stage(frame, shift, [v[:2] for v in x], factors)
        pairs = zip(rest, factors, strict=True)
        low = [Mux(v[0], f, 0) + Mux(v[1], f << 1, 0) for v, f in pairs]
        frame, shift, low = pipe.stage(frame, shift, low)

        # The shift, by all but the last two bits, by those.
        least = FRACTION + min(self.shifts)
        y = [((a << 2) + b) >> least for a, b in zip(high, low, strict=True)]
        y = [v >> Cat(Const(0, 2), shift[2:]) for v in y]
        frame, shift, y = pipe.stage(frame, shift[:2], y)
        y = [halved(m, _extended(v >> shift, self.o_width + 2), self.o_width) for v in y]
        frame, y = pipe.stage(frame, y)
        offsets = frame.pop("offsets", [0] * self.lanes)
        if self.offsets is not None or self.limit is not None:
            high = (1 << self.o_width - 1) - 1 if self.limit is None else self.limit
            low = -high - (self.limit is None)
            y = [v + offset for v, offset in zip(y, offsets, strict=True)]
            y = [Mux(v > high, high, Mux(v < low, low, v))[: self.o_width].as_signed() for v in y]
            frame, y = pipe.stage(frame, y)
        pipe.finish({**frame, "data": y})
        return m

    def _collected(self, m):
        """Queues of words and roots: {word, first: of a vector, fresh: another index}, ROOT."""
        i = self.i
        entry = data.StructLayout({"word": i.p.shape(), "first": 1, "fresh": 1})
        depth = self.words * self.tokens + self._wait - 2
        vectors = (depth + 2) // self.words  # two words stand behind the queue
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=entry.size, depth=depth)
        m.submodules.roots = roots = fifo.SyncFIFO(width=ROOT.size, depth=vectors)
        m.submodules.squares = squares = self._squares
        m.submodules.rsqrt = rsqrt = self._rsqrt

        last = self.words - 1
        place, held, following = (Signal(range(self.words), name=n) for n in ("p", "h", "f"))
        previous, ended, entering = Signal(token_width(self.tokens)), Signal(init=1), Signal(entry)
        m.d.comb += [
            entering.word.eq(i.p),
            entering.fresh.eq(ended | (i.p.token <= previous)),
            place.eq(Mux(entering.fresh, following, held)),
            entering.first.eq(place == 0),
            words.w_data.eq(entering),
            words.w_en.eq(i.valid),
            i.ready.eq(words.w_rdy),
            squares.i.valid.eq(i.valid & i.ready),
            *(squares.i.p[name].eq(i.p[name]) for name in ("data", "token")),
            squares.i.p.index.eq(place),
            rsqrt.i.valid.eq(squares.o.valid),
            rsqrt.i.payload.eq(squares.o.p.total),
            rsqrt.o.ready.eq(1),
            roots.w_en.eq(rsqrt.o.valid),
            roots.w_data.eq(rsqrt.o.p),
        ]
        with m.If(i.valid & i.ready):
            m.d.sync += [
                *(held.eq(place), following.eq(Mux(place == last, 0, place + 1))),
                *(previous.eq(i.p.token), ended.eq(i.p.last)),
            ]
        o, root = (stream.Signature(shape).create() for shape in (entry, ROOT))
        for queue, out in ((words, o), (roots, root)):
            m.d.comb += [out.valid.eq(queue.r_rdy), queue.r_en.eq(out.ready)]
            m.d.comb += out.p.as_value().eq(queue.r_data)
        return o, root

    def _with_gains(self, m, word):
        """A stream of {word, first, gains, shift, offsets}, two stages later: queues are slow."""
        lowest, highest = min(self.shifts), max(self.shifts)
        members = {
            "word": self.i.p.shape(),
            "first": 1,
            "gains": data.ArrayLayout(signed(16), self.lanes),
            "shift": max((highest - lowest).bit_length(), 3),
        }
        if self.offsets is not None:
            members["offsets"] = data.ArrayLayout(signed(self.o_width), self.lanes)
        o = stream.Signature(data.StructLayout(members)).create()
        pipe = Pipeline(m, word, o)
        (entry,) = pipe.stage(word.p)
        place, held = (Signal(range(self.words), name=n) for n in ("gain_place", "gain_held"))
        m.d.comb += place.eq(Mux(entry.first, 0, held + entry.fresh))
        with m.If(pipe.advance & pipe.valid):
            m.d.sync += held.eq(place)
        number, shift = entry.word["set"], Const(0, 3)
        if lowest != highest:
            steps = [shift - lowest for shift in self.shifts]
            shape = unsigned((highest - lowest).bit_length())
            m.submodules.shifts = memory = Memory(shape=shape, depth=len(steps), init=steps)
            port = memory.read_port()
            m.d.comb += [port.en.eq(pipe.advance), port.addr.eq(number)]
            shift = port.data
        where = self.lanes, place, number, pipe.advance
        found = {"gains": read_gains(m, self.gains, *where), "shift": shift}
        if self.offsets is not None:
            found["offsets"] = read_gains(m, self.offsets, *where, self.o_width, "offsets")
        word, first = pipe.stage(entry.word, entry.first)
        pipe.finish({"word": word, "first": first, **found})
        return o

    def _with_roots(self, m, word, roots):
        """A stream of {word, gains, ..., root}: a vector's first word waits for its root."""
        members = {name: field.shape for name, field in word.p.shape()}
        o = stream.Signature(data.StructLayout(members | {"root": ROOT})).create()
        go = ~word.p.first | roots.valid
        held = Array(Signal(ROOT, name=f"root_{t}") for t in range(self.tokens))
        token = word.p.word.token
        m.d.comb += [
            *(o.p[name].eq(word.p[name]) for name in members),
            o.p.root.eq(Mux(word.p.first, roots.p, held[token])),
            o.valid.eq(word.valid & go),
            word.ready.eq(o.ready & go),
            roots.ready.eq(word.valid & word.p.first & o.ready),
        ]
        with m.If(roots.valid & roots.ready):
            m.d.sync += held[token].eq(roots.p)
        return o


def _extended(x, width):
    return Cat(x, x[-1].replicate(max(width - len(x), 0))).as_signed()
