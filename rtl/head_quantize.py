"""Queries and keys in 8 bits: one step for each head of each token."""

from functools import reduce
from operator import or_

from amaranth import Array, Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.reference.head_quantize import reciprocals
from celosia.rtl.heads import HEAD_WIDTH, head_place
from celosia.rtl.pipeline import Pipeline, clamp
from celosia.rtl.words import framed

__all__ = ["HeadQuantize"]

LEAST = 259  # more than any head's least step: (2**15 * 129 + 2**14 - 1) >> 14 is 258


class HeadQuantize(wiring.Component):
    """``round(x / step)`` for each head of each token, with the smallest step that fits 8 bits.

    Rounds half up, limits to -127 ... 127. Bit-exact with
    :func:`celosia.reference.head_quantize.head_quantize`.

    Latency: 7 cycles (8 for more than 16 lanes) from a token's last word of a head, accepted, to
    its first, offered. Throughput 1 word per cycle; words are accepted while earlier ones leave.

    Parameters
    ----------
    lanes : int, 1 to 64
    head_words : int, 1 to 64
        Words of ``lanes`` values in one head.
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of framed(lanes, 16, tokens))
        Heads one after the other from index 0, for any number of tokens up to ``tokens``.
    o : Out(stream of framed(lanes, 8, tokens, step, head, word))
        The same words in the same order, with the head's ``step``, unsigned(9) from 1 to 288, the
        head's number ``head`` in the operation, and the word's number ``word`` in the head, both
        unsigned(8).

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, head_words, tokens=1):
        for name, value in (("lanes", lanes), ("head_words", head_words), ("tokens", tokens)):
            if value not in range(1, 65):
                raise ValueError(f"{name} must be from 1 to 64, not {value!r}")
        self.lanes = lanes
        self.head_words = head_words
        self.tokens = tokens
        number = unsigned(HEAD_WIDTH)
        result = framed(lanes, 8, tokens, step=unsigned(9), head=number, word=number)
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, 16, tokens))),
                "o": Out(stream.Signature(result)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # A word is kept until its head's step is known; so is each step until its head leaves.
        depth = self.head_words * self.tokens + 8
        waiting = framed(self.lanes, 16, self.tokens, head=HEAD_WIDTH, word=HEAD_WIDTH)
        m.submodules.words = words = SyncFIFOBuffered(width=waiting.size, depth=depth)
        m.submodules.marks = marks = SyncFIFO(width=1 + len(self.i.p.token), depth=depth)
        m.submodules.steps = steps = SyncFIFO(width=9, depth=depth // self.head_words)
        arriving, word = Signal(waiting), Signal(waiting)
        place, head = head_place(m, self.i, self.head_words)
        for name, _ in self.i.p.shape():
            m.d.comb += arriving[name].eq(self.i.p[name])
        m.d.comb += [
            arriving.word.eq(place),
            arriving.head.eq(head),
            words.w_data.eq(arriving),
            marks.w_data.eq(Cat(place == 0, self.i.p.token)),
            self.i.ready.eq(words.w_rdy),
            words.w_en.eq(self.i.valid),
            marks.w_en.eq(self.i.valid & self.i.ready),
            word.eq(words.r_data),
        ]
        self._measure(m, self.i.valid & self.i.ready, self.i.p, place, steps)

        least = Signal(9)
        first, token = marks.r_data[0], marks.r_data[1:]  # of the word, out of a faster memory
        kept = Array(Signal(9, name=f"kept_{t}") for t in range(self.tokens))
        i = stream.Signature(0).create()
        m.d.comb += [
            least.eq(Mux(first, steps.r_data, kept[token])),
            i.valid.eq(words.r_rdy & (steps.r_rdy | ~first)),
            words.r_en.eq(i.valid & i.ready),
            marks.r_en.eq(i.valid & i.ready),
            steps.r_en.eq(i.valid & i.ready & first),
        ]
        with m.If(steps.r_en):
            m.d.sync += kept[token].eq(steps.r_data)
        self._divide(m, i, word, least)
        return m

    def _measure(self, m, valid, word, place, steps):
        """Give ``steps`` the least step of each head: its largest magnitude * 129 / 2**14, up."""
        magnitudes = []
        for v in word.data:
            m.d.comb += (magnitude := Signal(16)).eq(Mux(v < 0, -v, v))
            magnitudes.append(magnitude)
        frame, groups = [valid, place == 0, place == self.head_words - 1, word.token], magnitudes
        while groups is magnitudes or len(groups) > 4:
            groups = [_largest(m, groups[k : k + 4]) for k in range(0, len(groups), 4)]
            frame, groups = ([_register(m, v) for v in values] for values in (frame, groups))
        valid, first, done, token = frame

        largest = Array(Signal(16, name=f"largest_{t}") for t in range(self.tokens))
        total = _largest(m, [*groups, Mux(first, 0, largest[token])])
        with m.If(valid):
            m.d.sync += largest[token].eq(total)
        least = Signal(range(LEAST))
        largest = _register(m, total)
        product = (largest << 7) + largest + ((1 << 14) - 1)
        m.d.comb += [
            least.eq(product >> 14),
            steps.w_data.eq(Mux(least == 0, 1, least)),
            steps.w_en.eq(_register(m, valid & done)),
        ]

    def _divide(self, m, i, word, least):
        """Divide ``word`` by the smallest ``m * 2**e`` from ``least`` on; 4 stages."""
        pipe = Pipeline(m, i, self.o)
        shape = data.StructLayout({"reciprocal": 15, "exponent": 3, "step": 9})
        init = [_divisor(x) for x in range(LEAST)]
        m.submodules.divisors = divisors = Memory(shape=shape, depth=LEAST, init=init)
        port = divisors.read_port()
        m.d.comb += [port.addr.eq(least), port.en.eq(pipe.advance)]
        (word,) = pipe.stage(word)
        word, divisor = pipe.stage(word, port.data)
        products = [v * divisor.reciprocal for v in word.data]
        word, divisor, *products = pipe.stage(word, divisor, *products)
        quotients = []
        for product in products:
            # Less than 127.5 from 0 but for the reciprocal's rounding: 9 bits hold it.
            shifted = ((product >> 13) >> divisor.exponent)[:10].as_signed()
            quotients.append(clamp((shifted + 1)[1:].as_signed(), 8, low=-127))
        word, step, *quotients = pipe.stage(word, divisor.step, *quotients)
        fields = {name: word[name] for name, _ in word.shape() if name != "data"}
        pipe.finish({**fields, "data": Cat(v[:8] for v in quotients), "step": step})


def _divisor(least):
    """What divides by the smallest step ``m * 2**exponent``, m up to 16, not below ``least``."""
    exponent = max(least.bit_length() - 4, 0)
    m = (least + (1 << exponent) - 1) >> exponent
    return {"reciprocal": int(reciprocals()[m]), "exponent": exponent, "step": m << exponent}


def _register(m, value):
    m.d.sync += (register := Signal(value.shape(), name="measured")).eq(value)
    return register


def _largest(m, values):
    """The largest of a few unsigned ``values``: each is compared with each at once."""
    wins = [Const(1, 1)] * len(values)
    for k, a in enumerate(values):
        for j, b in enumerate(values[:k]):
            m.d.comb += (above := Signal(name="above")).eq(a > b)
            wins[k] = wins[k] & above
            wins[j] = wins[j] & ~above
    m.d.comb += (largest := Signal(16)).eq(
        reduce(or_, (v & win.replicate(16) for v, win in zip(values, wins, strict=True)))
    )
    return largest
