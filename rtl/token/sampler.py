"""Choosing the next token: the largest logit, or by the Gumbel maximum a sample of the softmax."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.reference.functions.tables import gumbel_table
from celosia.reference.units.sampler import LN2
from celosia.rtl.arithmetic.carry_save import carry_save_sum, multiply_bits
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, bit_length, choose, first_largest, round_shift
from celosia.rtl.stream.words import framed

__all__ = ["Sampler"]

PART = 4  # bits of the temperature that are multiplied at once
PLACES = (0, 4, 8)
FAN_IN = 4  # candidates compared in one stage
GOLDEN = 0x9E3779B1  # tells the lanes' seeds apart


class Sampler(wiring.Component):
    """``argmax(logits + temperature * gumbel)``, the lowest token among equals.

    Every lane owns a random generator, which moves on with each word, but not at temperature 0.
    Noise is rounded half up to the logits' unit. Bit-exact with
    :class:`celosia.reference.units.sampler.Sampler`, whatever ``at_once`` is.

    Latency ``latency`` cycles from an operation's last word: 8, one for each factor of up to 4 in
    ``at_once``, and ``lanes / at_once``. Throughput 1 word in ``lanes / at_once`` cycles.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    vocab_size : int, 1 to 2**20
    fraction : int, 0 to 19
        Logits are in units of ``2**-fraction``.
    at_once : int, a power of two up to ``lanes``, optional
        Logits of a word that get their noise in one cycle; by default all.

    Members
    -------
    temperature : In(unsigned(12))
        In units of 1/256; 0 is greedy. Constant while an operation's words come.
    seed : In(stream of unsigned(32))
        Sets all generators, between operations; a seed goes before a word. They start from 0.
    i : In(stream of framed(lanes, 24))
        One token's logits. Lanes of tokens from ``vocab_size`` on do not count.
    o : Out(stream of {token: unsigned(20), logit: signed(24)})
        One token for each operation, and its logit without noise.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, vocab_size, fraction=12, at_once=None):
        check_power_of_two("lanes", lanes, 64)
        self.at_once = lanes if at_once is None else at_once
        check_power_of_two("at_once", self.at_once, lanes)
        check_range("vocab_size", vocab_size, 1, 1 << 20)
        check_range("fraction", fraction, 0, 19)
        self.lanes = lanes
        self.vocab_size = vocab_size
        self.fraction = fraction
        compared = -(-exact_log2(self.at_once) // exact_log2(FAN_IN))
        self.latency = 8 + compared + lanes // self.at_once
        o = data.StructLayout({"token": unsigned(20), "logit": signed(24)})
        super().__init__(
            {
                "temperature": In(12),
                "seed": In(stream.Signature(32)),
                "i": In(stream.Signature(framed(lanes, 24))),
                "o": Out(stream.Signature(o)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = stream.Signature(framed(self.at_once, 24)).create()
        found = stream.Signature(1).create()  # the end of the pipeline; its values go by themselves
        states = self._generators(m, word)
        pipe = Pipeline(m, word, found)
        whole, rest = divmod(self.vocab_size, self.at_once)
        frame = {
            "index": word.p.index,
            "last": word.p.last,
            "before": word.p.index < whole,
            "within": word.p.index == whole,
        }
        frame, logits, noise = self._noise(m, pipe, states, frame, list(word.p.data))
        # The product in parts, small enough for a stage of LUTs, and their sum.
        parts = [
            [multiply_bits(m, n, self.temperature[at : at + PART]) for at in PLACES] for n in noise
        ]
        frame, logits, parts = pipe.stage(frame, logits, parts)
        width = len(noise[0]) + len(self.temperature)
        scaled = [
            carry_save_sum(m, [part << at for at, part in zip(PLACES, row, strict=True)], width)
            for row in parts
        ]
        frame, logits, scaled = pipe.stage(frame, logits, [x.as_signed() for x in scaled])

        shift = 19 - self.fraction
        values = []
        for lane, (logit, n) in enumerate(zip(logits, scaled, strict=True)):
            total = Signal(signed(max(24 + shift, len(n)) + 1))
            m.d.comb += total.eq((logit << shift) + n)
            value = round_shift(m, total, shift, shift)
            counts = frame["before"] | (frame["within"] if lane < rest else 0)
            values.append(Mux(counts, value, Const(-1 << (len(value) - 1), signed(len(value)))))
        frame, logits, values = pipe.stage(frame, logits, values)

        bits = exact_log2(self.at_once)
        best = [
            {"value": value, "logit": logit, "lane": Const(lane, bits)}
            for lane, (value, logit) in enumerate(zip(values, logits, strict=True))
        ]
        while len(best) > 1:
            best = [_largest(m, best[n : n + FAN_IN]) for n in range(0, len(best), FAN_IN)]
            frame, best = pipe.stage(frame, best)
        m.d.comb += found.valid.eq(pipe.valid)
        self._keep_best(m, found, frame, best[0])
        return m

    def _generators(self, m, word):
        """The states of a word's lanes; connects ``word`` to ``i`` so that seeds come between."""
        busy, seeding, take = Signal(), Signal(), Signal()
        m.d.comb += [
            self.seed.ready.eq(~busy),
            seeding.eq(self.seed.valid & self.seed.ready),
            take.eq(word.valid & word.ready),
        ]
        self._split(m, word, seeding, take)
        with m.If(take):
            m.d.sync += busy.eq(~word.p.last)
        salts = [(lane + 1) * GOLDEN & 0xFFFFFFFF for lane in range(self.lanes)]
        states = [Signal(32, init=salt, name=f"state_{n}") for n, salt in enumerate(salts)]
        moved = []
        for state in states[: self.at_once]:
            a, b = Signal(32), Signal(32)
            m.d.comb += [a.eq(state ^ state << 13), b.eq(a ^ a >> 17)]
            moved.append(b ^ b << 5)
        # Those of the word's next lanes come to the front.
        following = [*states[self.at_once :], *moved]
        for state, salt, after in zip(states, salts, following, strict=True):
            seeded = Signal(32)
            m.d.comb += seeded.eq(self.seed.payload ^ salt)
            with m.If(seeding):
                m.d.sync += state.eq(Mux(seeded == 0, 1, seeded))
            with m.Elif(take & (self.temperature != 0)):
                m.d.sync += state.eq(after)
        return states[: self.at_once]

    def _split(self, m, word, seeding, take):
        """The words of ``i``, each as one ``word`` or more of ``at_once`` logits."""
        i, parts = self.i, self.lanes // self.at_once
        part, final = Signal(exact_log2(parts)), Signal()
        logits = Cat(*i.p.data)
        m.d.comb += [
            final.eq(part == parts - 1),
            word.p.data.eq(logits.word_select(part, 24 * self.at_once)),
            word.p.index.eq(Cat(part, i.p.index)),
            word.p.last.eq(i.p.last & final),
            word.valid.eq(i.valid & ~seeding),
            i.ready.eq(word.ready & ~seeding & final),
        ]
        with m.If(take):
            m.d.sync += part.eq(part + 1)

    def _noise(self, m, pipe, states, frame, logits):
        """Gumbel variates of ``states``, five stages later, and ``frame`` and ``logits`` then."""
        # The leading one, and the six bits behind it.
        places = [bit_length(state[1:]) for state in states]
        frame, logits, states, places = pipe.stage(frame, logits, states, places)
        mantissas = [
            (Cat(Const(0, 6), state) >> place)[:6]
            for state, place in zip(states, places, strict=True)
        ]
        zeros = [~place for place in places]
        frame, logits, mantissas, zeros = pipe.stage(frame, logits, mantissas, zeros)

        # The table; rows beyond its last one add ln 2 each.
        table = gumbel_table().reshape(-1).tolist()
        shape = signed(max(table).bit_length() + 1)
        beyond = Array(Const(zeros * LN2) for zeros in range(1, 17))
        columns, extra = [], []
        for lane, (mantissa, zero) in enumerate(zip(mantissas, zeros, strict=True)):
            if lane % 2 == 0:
                memory = Memory(shape=shape, depth=len(table), init=table)
                m.submodules[f"table_{lane}"] = memory
            port = memory.read_port()
            row = Mux(zero[4], 15, zero[:4])
            m.d.comb += [port.addr.eq(Cat(mantissa, row[:4])), port.en.eq(pipe.advance)]
            columns.append(port.data)
            extra.append(Mux(zero[4], beyond[zero[:4]], 0))
        frame, logits, extra = pipe.stage(frame, logits, extra)
        frame, logits, extra, columns = pipe.stage(frame, logits, extra, columns)
        largest = max(table) + 16 * LN2
        noise = [Signal(signed(largest.bit_length() + 1)) for _ in columns]
        m.d.comb += [n.eq(a + b) for n, a, b in zip(noise, columns, extra, strict=True)]
        return pipe.stage(frame, logits, noise)

    def _keep_best(self, m, found, frame, best):
        """The best of the words so far, which after the last one is ``o``."""
        fresh = Signal(init=1)
        value = Signal.like(best["value"])
        m.d.comb += found.ready.eq(self.o.ready | ~self.o.valid)
        with m.If(found.ready):
            m.d.sync += self.o.valid.eq(found.valid & frame["last"])
        with m.If(found.ready & found.valid):
            m.d.sync += fresh.eq(frame["last"])
            with m.If(fresh | (best["value"] > value)):
                m.d.sync += [
                    value.eq(best["value"]),
                    self.o.p.token.eq(Cat(best["lane"], frame["index"])),
                    self.o.p.logit.eq(best["logit"]),
                ]


def _largest(m, candidates):
    """The candidate of the largest value, the first among equals."""
    bits = first_largest(m, [c["value"] for c in candidates])
    return {name: choose(bits, [c[name] for c in candidates]) for name in candidates[0]}
