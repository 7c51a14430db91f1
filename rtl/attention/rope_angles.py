"""Sines and cosines of rotary positions, one after the other."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2
from celosia.rtl.arithmetic.carry_save import carry_save_sum
from celosia.rtl.functions.sine import Sine
from celosia.rtl.stream.heads import HEAD_WIDTH
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.words import token_width

__all__ = ["POSITION_WIDTH", "RopeAngles", "check_rope"]

POSITION_WIDTH = 20
HALF = POSITION_WIDTH // 2
ONE = 1 << 14  # the cosine of 0
PART = data.StructLayout({"total": 32, "upper": 1})  # an increment times half a position


class RopeAngles(wiring.Component):
    """``sin, cos(2 pi position * increment / 2**32)`` in units of 2**-14, for all pairs of a head.

    Bit-exact with :func:`celosia.reference.functions.functions.sine_cosine`; pairs without an
    increment have zeros for both. For each position accepted come the words of ``position``,
    ``position + 1``, ..., each token's words in order, set after set. Words behind the last
    increment of a set that is not 0 do not turn, and do not come (:meth:`still`); all sets without
    one give one word. The next position is accepted after the last word.

    Latency ``13 + lanes`` cycles to the first word; a word every ``lanes`` cycles.

    Parameters
    ----------
    lanes : int, a power of two from 2 to 64
    head_words : int, 1 to 256
    increments : sequence of 1 to 16 sets, each a sequence of int from 0 to 2**32 - 1
        Turns per position in units of 2**-32, of pairs 0, 1, ...; 1 to ``head_words * lanes / 2``,
        of all sets as many.
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of {position: unsigned(20), tokens: unsigned})
        The first position, and for how many there shall be words, from 1 to ``tokens``.
    o : Out(stream of {data: signed(16)[lanes], place: unsigned, token: unsigned, last: 1})
        Sine and cosine of pair 0, of pair 1, ... of word ``place``: set after set, ``head_words``
        of each. No back pressure.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, head_words, increments, tokens=1):
        check_rope(lanes, head_words, increments, tokens)
        self.lanes = lanes
        self.head_words = head_words
        self.increments = tuple(map(tuple, increments))
        self.tokens = tokens
        self.places = _turning(self.increments, lanes, head_words)
        first = {"position": unsigned(POSITION_WIDTH), "tokens": range(tokens + 1)}
        word = {
            "data": data.ArrayLayout(signed(16), lanes),
            "place": unsigned(HEAD_WIDTH + ceil_log2(len(self.increments))),
            "token": unsigned(token_width(tokens)),
            "last": 1,
        }
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(first))),
                "o": Out(stream.Signature(data.StructLayout(word), always_ready=True)),
            }
        )

    def still(self):
        """What stays as it is in a table of all sets' words: {place: int[lanes]}, at position 0."""
        pairs = {}
        for place in range(len(self.increments) * self.head_words):
            if place not in self.places:
                first = place % self.head_words * self.lanes // 2
                there = [first + n < len(self.increments[0]) for n in range(self.lanes // 2)]
                pairs[place] = [value for pair in there for value in (0, ONE * pair)]
        return pairs

    def elaborate(self, platform):
        m = Module()
        values = len(self.places) * self.lanes  # sines and cosines of one token

        asking, busy = Signal(), Signal()
        position, count = Signal(POSITION_WIDTH), Signal(range(self.tokens + 1))
        question, left = Signal(range(values)), Signal(range(self.tokens + 1))
        m.d.comb += self.i.ready.eq(~busy)
        with m.If(self.i.valid & ~busy):
            m.d.sync += [busy.eq(1), asking.eq(1), question.eq(0), position.eq(self.i.p.position)]
            m.d.sync += [count.eq(self.i.p.tokens), left.eq(self.i.p.tokens)]
        with m.If(asking):
            m.d.sync += question.eq(question + 1)
            with m.If(question == values - 1):
                m.d.sync += [question.eq(0), position.eq(position + 1), left.eq(left - 1)]
                m.d.sync += asking.eq(left != 1)

        m.submodules.sine = sine = Sine()
        self._phases(m, asking, question, position, sine.i)

        answer, token = Signal(range(values)), Signal(token_width(self.tokens))
        word, lane = answer[exact_log2(self.lanes) :], answer[: exact_log2(self.lanes)]
        place = word if self.places == [*range(len(self.places))] else Array(self.places)[word]
        value = Mux(self._given(answer), sine.o.p, Const(0, signed(16)))
        complete = answer == values - 1
        m.d.comb += sine.o.ready.eq(1)
        m.d.sync += [
            self.o.p.place.eq(place),
            self.o.p.token.eq(token),
            self.o.p.last.eq(complete & (token == count - 1)),
            self.o.valid.eq(sine.o.valid & lane.all()),
        ]
        with m.If(sine.o.valid):
            m.d.sync += [
                self.o.p.data.eq(Cat(self.o.p.data, value)[16:]),
                answer.eq(Mux(complete, 0, answer + 1)),
                token.eq(token + complete),
            ]
        with m.If(self.o.valid & self.o.p.last):
            m.d.sync += [token.eq(0), busy.eq(0)]
        return m

    def _given(self, answer):
        """Whether the pair of an answer has an increment: those of a head's last words may not."""
        given, size = 2 * len(self.increments[0]), self.head_words * self.lanes
        missing = []  # ranges of answers
        for number, place in enumerate(self.places):
            first = number * self.lanes
            start = first + min(max(given - place * self.lanes % size, 0), self.lanes)
            if start < first + self.lanes:
                missing.append((answer >= start) & (answer < first + self.lanes))
        return ~Cat(missing).any() if missing else Const(1)

    def _phases(self, m, valid, question, position, o):
        """``position`` times the increment of pair ``question / 2``, and a quarter for cosines."""
        i, part = stream.Signature(0).create(), stream.Signature(PART).create()
        m.d.comb += [i.valid.eq(valid), part.ready.eq(1)]
        pipe = Pipeline(m, i, part)
        pairs, init = self.lanes // 2, []
        for place in self.places:
            number, word = divmod(place, self.head_words)
            some = self.increments[number][word * pairs : (word + 1) * pairs]
            init += [*some, *[0] * (pairs - len(some))]
        depth = 1 << ceil_log2(max(len(init), 2))
        m.submodules += (memory := Memory(shape=32, depth=depth, init=init))
        port = memory.read_port()
        m.d.comb += [port.addr.eq(question[1:]), port.en.eq(1)]

        # The question after the sine multiplies by the lower half of the position, that after the
        # cosine by the upper one: pairs of bits, then their sum.
        position, upper = pipe.stage(position, question[0])
        bits = Mux(upper, position[HALF:], position[:HALF])
        increment, bits, upper = pipe.stage(port.data, bits, upper)
        rows = [Mux(bit, increment, 0) for bit in bits]
        pairs = [(a + (b << 1))[:32] for a, b in zip(rows[0::2], rows[1::2], strict=True)]
        pairs, upper = pipe.stage(pairs, upper)
        pairs = [(pair << (2 * n))[:32] for n, pair in enumerate(pairs)]
        sums = [carry_save_sum(m, part, 32) for part in (pairs[:3], pairs[3:])]
        sums, upper = pipe.stage(sums, upper)
        pipe.finish(dict(zip(("total", "upper"), pipe.stage(sum(sums)[:32], upper), strict=True)))

        # A pair's sine is asked for when both products are there, its cosine a cycle later.
        lower, asked = Signal(32), Signal()
        complete = part.valid & part.p.upper
        m.d.sync += [
            lower.eq(part.p.total),
            asked.eq(complete),
            o.valid.eq(complete | asked),
        ]
        with m.If(part.p.upper):
            m.d.sync += o.payload.eq(lower + (part.p.total << HALF))
        with m.Else():
            m.d.sync += o.payload[30:].eq(o.payload[30:] + 1)


def _turning(increments, lanes, head_words):
    """The places of the words that turn, set after set; at least one."""
    places = []
    for number, some in enumerate(increments):
        turning = [pair for pair, increment in enumerate(some) if increment]
        words = 2 * turning[-1] // lanes + 1 if turning else 0
        places += [number * head_words + word for word in range(words)]
    return places or [0]


def check_rope(lanes, head_words, increments, tokens):
    """Raise ValueError unless the parameters are in :class:`RopeAngles`' ranges."""
    if lanes not in (2, 4, 8, 16, 32, 64):
        raise ValueError(f"lanes must be a power of two from 2 to 64, not {lanes!r}")
    if head_words not in range(1, 257):
        raise ValueError(f"head_words must be from 1 to 256, not {head_words!r}")
    pairs = head_words * lanes // 2
    if len(increments) not in range(1, 17):
        raise ValueError(f"increments must be of 1 to 16 sets, not {len(increments)}")
    for some in increments:
        if len(some) not in range(1, pairs + 1):
            raise ValueError(f"increments must be from 1 to {pairs} numbers, not {len(some)}")
        if len(some) != len(increments[0]):
            raise ValueError(
                "increments must be as many in each set: "
                f"one has {len(increments[0])}, another {len(some)}"
            )
        for increment in some:
            if not 0 <= increment < 1 << 32:
                raise ValueError(f"increments must be from 0 to 2**32 - 1, not {increment!r}")
    if tokens not in range(1, 65):
        raise ValueError(f"tokens must be from 1 to 64, not {tokens!r}")
