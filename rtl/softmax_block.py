"""Softmax in blocks: exponentials relative to each block's own power of two."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.reference.softmax import EMPTY
from celosia.reference.tables import exp2_table
from celosia.rtl.parameters import check_power_of_two, check_range
from celosia.rtl.pipeline import Pipeline, choose, clamp, first_largest
from celosia.rtl.words import INDEX_WIDTH, framed

__all__ = ["SoftmaxBlock"]

FAN_IN = 8  # lanes whose largest score is found in one stage


class SoftmaxBlock(wiring.Component):
    """``127 * 2**(score - exponent)`` for each word of scores, those of later positions zero.

    Scores saturate to 16 bits, in units of 2**-8; powers are rounded half up. Lane ``j`` of word
    ``index`` counts where ``index * lanes + j <= position + token``; the exponent of a word
    without such a lane is -129. Bit-exact with :func:`celosia.reference.softmax.softmax_block`.

    Latency 3 cycles, 4 where ``lanes`` exceeds 8. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    tokens : int, 1 to 64

    Members
    -------
    position : In(unsigned(20))
        That of token 0. Constant while words come.
    i : In(stream of framed(lanes, 24, tokens))
    o : Out(stream of framed(lanes, unsigned(7), tokens, exponent=signed(10)))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, tokens=1):
        check_power_of_two("lanes", lanes, 64)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.tokens = tokens
        self.latency = 3 if lanes <= FAN_IN else 4
        o = framed(lanes, unsigned(7), tokens, exponent=signed(10))
        super().__init__(
            {
                "position": In(INDEX_WIDTH),
                "i": In(stream.Signature(framed(lanes, 24, tokens))),
                "o": Out(stream.Signature(o)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        word = self.i.p
        frame = {n: word[n] for n in ("token", "index", "argument", "last")}

        # 1: the scores that count; beside them the table is read.
        scores = [Signal(signed(16), name=f"score_{n}") for n in range(self.lanes)]
        m.d.comb += [s.eq(clamp(x, 16)) for s, x in zip(scores, word.data, strict=True)]
        halves = self._read_table(m, pipe, [s[:8] for s in scores])
        valid = self._valid(m, word)
        parts = zip(valid, scores, strict=True)
        whole = [Mux(v, s[8:], 128).as_signed() for v, s in parts]  # integer parts; -128 is least
        exact = [s[:8] == 0 for s in scores]
        frame, valid, whole, exact = pipe.stage(frame, valid, whole, exact)

        # 2: the largest one.
        groups = range(0, self.lanes, FAN_IN)
        best = [self._largest(m, whole[n : n + FAN_IN]) for n in groups]
        registers = pipe.stage(frame, valid, whole, exact, halves, best)
        if self.lanes > FAN_IN:
            *registers, best = registers
            registers = pipe.stage(*registers, [self._largest(m, best)])
        frame, valid, whole, exact, halves, (best,) = registers

        # 3: every score's power, relative to the whole number above it.
        powers = []
        for v, x, zero, half in zip(valid, whole, exact, halves, strict=True):
            below = Signal(9)
            m.d.comb += below.eq(best - x + zero)
            rounded = ((half >> below[:3]) + 1) >> 1
            powers.append(Mux(v & (below[3:] == 0), rounded, 0))
        exponent = Signal(signed(10))
        m.d.comb += exponent.eq(Mux(valid[0], best + 1, EMPTY))
        frame, exponent, powers = pipe.stage(frame, exponent, powers)
        pipe.finish({**frame, "exponent": exponent, "data": powers})
        return m

    def _valid(self, m, word):
        """For each lane whether its position is not after the token's."""
        bits = exact_log2(self.lanes)
        limit = Signal(INDEX_WIDTH + 1)
        m.d.comb += limit.eq(self.position + word.token)
        before, within = word.index < limit[bits:], word.index == limit[bits:]
        return [before | (within & (limit[:bits] >= n)) for n in range(self.lanes)]

    def _read_table(self, m, pipe, fractions):
        """``254 * 2**(fraction / 256 - 1)``, 254 for 0, one stage later; a memory for two lanes."""
        table = [int(exp2_table()[-fraction & 255]) >> 7 for fraction in range(256)]
        halves = []
        for n, fraction in enumerate(fractions):
            if n % 2 == 0:
                memory = Memory(shape=8, depth=256, init=table)
                m.submodules[f"table_{n}"] = memory
            port = memory.read_port()
            m.d.comb += [port.addr.eq(fraction), port.en.eq(pipe.advance)]
            halves.append(port.data)
        return halves

    def _largest(self, m, values):
        """The largest of signed 8-bit ``values``."""
        largest = Signal(signed(8))
        m.d.comb += largest.eq(choose(first_largest(m, values), values))
        return largest
