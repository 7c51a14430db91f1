"""Queries, keys and values in few bits: one step for each head of each token."""

from amaranth import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.reference.units.head_quantize import (
    KV_WIDTHS,
    OCTAVE,
    least_steps,
    logarithm,
    logarithmic_reciprocals,
    reciprocals,
)
from celosia.rtl.arithmetic.carry_save import carry_save_sum, multiply_bits
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.heads import HEAD_WIDTH, head_place
from celosia.rtl.stream.pipeline import Pipeline, delayed
from celosia.rtl.stream.words import framed

__all__ = ["HeadQuantize"]

PART = 4  # bits of a reciprocal that are multiplied at once
PLACES = range(0, 15, PART)


class HeadQuantize(wiring.Component):
    """``round(x / step)`` for each head of each token, with the smallest step that fits ``width``.

    Rounds half up; results of 8 bits are from -127 to 127. Bit-exact with
    :func:`celosia.reference.units.head_quantize.head_quantize`, or ``logarithmic`` with
    :func:`celosia.reference.units.head_quantize.value_quantize`.

    Latency: 8 cycles (9 for more than 4 lanes, 10 for more than 16) from a token's last word of a
    head, accepted, to its first, offered. Throughput 1 word per cycle; words are accepted while
    earlier ones leave.

    Parameters
    ----------
    lanes : int, 1 to 64
    head_words : int, 1 to 256
        Words of ``lanes`` values in one head.
    tokens : int, 1 to 64
    width : int, 8, 6 or 4
        Bits of a result.
    key_width : int, 8, 6 or 4, optional
        That of keys, which the lowest bit of ``argument`` marks; ``width`` by default.
    logarithmic : bool
        Whether steps are powers of ``2**(1 / 8)``, given by their logarithms, 0 to 65.

    Members
    -------
    i : In(stream of framed(lanes, 16, tokens))
        Heads one after the other from index 0, for any number of tokens up to ``tokens``.
    o : Out(stream of framed(lanes, 8, tokens, step, head, word))
        The same words in the same order, with the head's ``step``, unsigned(9) from 1 to 288 in
        units of ``2**(8 - width)``, the head's number ``head`` in the operation, and the word's
        number ``word`` in the head, both unsigned(8).

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, head_words, tokens=1, width=8, logarithmic=False, key_width=None):
        check_range("lanes", lanes, 1, 64)
        check_range("head_words", head_words, 1, 1 << HEAD_WIDTH)
        check_range("tokens", tokens, 1, 64)
        self.widths = (width,) if key_width in (None, width) else (width, key_width)
        for one in self.widths:
            if one not in KV_WIDTHS:
                raise ValueError(f"width must be 8, 6 or 4, not {one!r}")
        self.lanes = lanes
        self.head_words = head_words
        self.tokens = tokens
        self.latency = 8 + (lanes > 4) + (lanes > 16)
        self.logarithmic = logarithmic
        self.most = max(int(least_steps([-1 << 15], one)) for one in self.widths)  # least step
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

        # A word's mark, out of a register: it is there when the word is.
        mark, marked = Signal(1 + len(self.i.p.token)), Signal()
        m.d.comb += marks.r_en.eq(marks.r_rdy & (words.r_en | ~marked))
        with m.If(words.r_en | ~marked):
            m.d.sync += [mark.eq(marks.r_data), marked.eq(marks.r_rdy)]
        first, token = mark[0], mark[1:]
        least = Signal(9)
        kept = Array(Signal(9, name=f"kept_{t}") for t in range(self.tokens))
        i = stream.Signature(0).create()
        m.d.comb += [
            least.eq(Mux(first, steps.r_data, kept[token])),
            i.valid.eq(words.r_rdy & (steps.r_rdy | ~first)),
            words.r_en.eq(i.valid & i.ready),
            steps.r_en.eq(i.valid & i.ready & first),
        ]
        with m.If(steps.r_en):
            m.d.sync += kept[token].eq(steps.r_data)
        self._divide(m, i, word, least)
        return m

    def _measure(self, m, valid, word, place, steps):
        """Give ``steps`` the least step of each head: a part of its largest magnitude, up."""
        magnitudes = []
        for v in word.data:
            m.d.comb += (magnitude := Signal(16)).eq(Mux(v < 0, -v, v))
            magnitudes.append(magnitude)
        frame = [valid, place == 0, place == self.head_words - 1, word.token]
        frame += [word.argument[0]] if len(self.widths) > 1 else []
        groups = magnitudes
        size = 2
        while groups is magnitudes or len(groups) > 2:
            groups = [_largest(m, groups[k : k + size]) for k in range(0, len(groups), size)]
            frame, groups = ([delayed(m, v, 1, "measured") for v in vs] for vs in (frame, groups))
            size = 4
        valid, first, done, token, *is_key = frame

        largest = Array(Signal(16, name=f"largest_{t}") for t in range(self.tokens))
        total = _largest(m, [*groups, Mux(first, 0, largest[token])])
        with m.If(valid):
            m.d.sync += largest[token].eq(total)
        least = Signal(range(self.most + 1))
        largest = delayed(m, total, 1, "measured")
        found = _least(largest, self.widths[0])
        for key in is_key:  # of two widths
            key = delayed(m, key, 1, "measured")
            found = Mux(key, _least(largest, self.widths[1]), found)
        m.d.comb += [
            least.eq(found),
            steps.w_data.eq(least | (largest == 0)),
            steps.w_en.eq(delayed(m, valid & done, 1, "measured")),
        ]

    def _divide(self, m, i, word, least):
        """Divide ``word`` by the smallest step from ``least`` on; 5 stages."""
        pipe = Pipeline(m, i, self.o)
        exponent_width, by = (4, _logarithmic) if self.logarithmic else (3, _divisor)
        shape = data.StructLayout({"reciprocal": 15, "exponent": exponent_width, "step": 9})
        init = [by(x) for x in range(self.most + 1)]
        m.submodules.divisors = divisors = Memory(shape=shape, depth=len(init), init=init)
        port = divisors.read_port()
        m.d.comb += [port.addr.eq(least), port.en.eq(pipe.advance)]
        (word,) = pipe.stage(word)
        word, divisor = pipe.stage(word, port.data)
        # The product in parts, small enough for a stage of LUTs, and their sum.
        bits = divisor.reciprocal
        parts = [[multiply_bits(m, v, bits[n : n + PART]) for n in PLACES] for v in word.data]
        word, divisor, parts = pipe.stage(word, divisor, parts)
        products = [
            carry_save_sum(m, [part << n for n, part in zip(PLACES, row, strict=True)], 31)
            for row in parts
        ]
        products = [product.as_signed() for product in products]
        word, divisor, products = pipe.stage(word, divisor, products)
        quotients = []
        for product in products:
            # No head's largest magnitude gives more than the largest code, so nothing is limited.
            moved = [product >> (21 - width) for width in self.widths]
            moved = Mux(word.argument[0], *moved[::-1]) if len(moved) > 1 else moved[0]
            shifted = moved >> divisor.exponent
            quotients.append((shifted[:9] + 1)[1:9])
        word, step, *quotients = pipe.stage(word, divisor.step, *quotients)
        fields = {name: word[name] for name, _ in word.shape() if name != "data"}
        pipe.finish({**fields, "data": Cat(quotients), "step": step})


def _least(largest, width):
    """The least step of a head; see :func:`celosia.reference.units.head_quantize.least_steps`."""
    places, factor = 22 - width, KV_WIDTHS[width]
    bits = [n for n in reversed(range(factor.bit_length())) if factor >> n & 1]
    product = sum((largest << n if n else largest for n in bits[1:]), largest << bits[0])
    return (product + ((1 << places) - 1)) >> places


def _divisor(least):
    """What divides by the smallest step ``m * 2**exponent``, m up to 16, not below ``least``."""
    exponent = max(least.bit_length() - 4, 0)
    m = (least + (1 << exponent) - 1) >> exponent
    return {"reciprocal": int(reciprocals()[m]), "exponent": exponent, "step": m << exponent}


def _logarithmic(least):
    """What divides by the smallest step ``2**(n / 8)`` not below ``least``; ``step`` is ``n``."""
    exponent, part = divmod(n := logarithm(least), OCTAVE)
    return {"reciprocal": int(logarithmic_reciprocals()[part]), "exponent": exponent, "step": n}


def _largest(m, values):
    """The largest of the unsigned ``values``, by a tree."""
    while len(values) > 1:
        pairs = [values[k : k + 2] for k in range(0, len(values), 2)]
        values = [Mux(p[0] > p[-1], p[0], p[-1]) for p in pairs]
    m.d.comb += (largest := Signal(16)).eq(values[0])
    return largest
