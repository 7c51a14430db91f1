"""Softmax in blocks: exponentials relative to each block's own power of two."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.reference.softmax import empty
from celosia.reference.tables import exp2_table
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, choose, clamp, first_largest
from celosia.rtl.stream.words import INDEX_WIDTH, framed

__all__ = ["SoftmaxBlock", "own_lanes", "seen_lanes"]

FAN_IN = 8  # lanes whose largest score is found in one stage
TABLE = 8  # bits of a score behind the point that address the table


class SoftmaxBlock(wiring.Component):
    """``127 * 2**(score - exponent)`` for each word of scores, those of later positions zero.

    Scores, in units of ``2**-fraction``, saturate to ``width`` bits, of which ``whole`` are before
    the point; powers are rounded half up. Lane ``j`` of word ``index`` counts where ``index * lanes
    + j <= position + token``; the exponent of a word without such a lane is ``empty(whole)``.
    Bit-exact with :func:`celosia.reference.softmax.softmax_block`.

    Latency 3 cycles, 4 where ``lanes`` exceeds 8. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    tokens : int, 1 to 64
    fraction : int, 0 to 8
    width : int, ``fraction + 8`` to 24

    Members
    -------
    position : In(unsigned(20))
        That of token 0. Constant while words come.
    i : In(stream of framed(lanes, 24, tokens))
    o : Out(stream of framed(lanes, unsigned(7), tokens, exponent=signed(whole + 2)))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, tokens=1, fraction=TABLE, width=16):
        check_power_of_two("lanes", lanes, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("fraction", fraction, 0, TABLE)
        check_range("width", width, fraction + 8, 24)
        self.lanes = lanes
        self.tokens = tokens
        self.fraction = fraction
        self.width = width
        self.whole = width - fraction
        self.latency = 3 if lanes <= FAN_IN else 4
        o = framed(lanes, unsigned(7), tokens, exponent=signed(self.whole + 2))
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

        # 1: the scores that count; beside them the table is read, as if no score was beyond.
        data = [self._in_table_units(x) for x in word.data]
        halves = self._read_table(m, pipe, [x[:8] for x in data])
        valid = seen_lanes(m, word, self.position, self.lanes, self.tokens)
        bits = TABLE + self.whole
        parts = zip(valid, [clamp(x, bits) for x in data], strict=True)
        least = 1 << (self.whole - 1)  # of the integer parts, with the sign's bit
        whole = [Mux(v, s[8:], least).as_signed() for v, s in parts]
        beyond = [self._beyond(x, bits) for x in data]
        exact = [Mux(over, x[-1], x[:8] == 0) for over, x in zip(beyond, data, strict=True)]
        frame, valid, whole, beyond, exact = pipe.stage(frame, valid, whole, beyond, exact)

        # 2: the largest one; beside it what the table's number is at each distance.
        groups = range(0, self.lanes, FAN_IN)
        best = [self._largest(m, whole[n : n + FAN_IN]) for n in groups]
        powers = [_rounded(m, *lane) for lane in zip(halves, beyond, exact, strict=True)]
        registers = pipe.stage(frame, valid, whole, exact, powers, best)
        if self.lanes > FAN_IN:
            *registers, best = registers
            registers = pipe.stage(*registers, [self._largest(m, best)])
        frame, valid, whole, exact, powers, (best,) = registers

        # 3: every score's power, relative to the whole number above it.
        results = []
        for v, x, zero, power in zip(valid, whole, exact, powers, strict=True):
            below = Signal(self.whole + 1)
            m.d.comb += below.eq(best - x + zero)
            near = v & (below[3:] == 0)
            results.append(Mux(near, Array(power)[below[:3]], 0))
        exponent = Signal(signed(self.whole + 2))
        m.d.comb += exponent.eq(Mux(valid[0], best + 1, empty(self.whole)))
        frame, exponent, results = pipe.stage(frame, exponent, results)
        pipe.finish({**frame, "exponent": exponent, "data": results})
        return m

    def _in_table_units(self, x):
        """A score in units of 2**-8."""
        left = TABLE - self.fraction
        return Cat(Const(0, left), x).as_signed() if left else x

    def _beyond(self, x, bits):
        """Whether a score saturates to ``bits``."""
        above = len(x) - bits
        return x[bits - 1 : -1] != x[-1].replicate(above) if above else Const(0, 1)

    def _read_table(self, m, pipe, fractions):
        """``254 * 2**(fraction / 256 - 1)``, 254 for 0, one stage later; a memory for two lanes."""
        halves = []
        for n, fraction in enumerate(fractions):
            if n % 2 == 0:
                memory = Memory(shape=8, depth=256, init=_table())
                m.submodules[f"table_{n}"] = memory
            port = memory.read_port()
            m.d.comb += [port.addr.eq(fraction), port.en.eq(pipe.advance)]
            halves.append(port.data)
        return halves

    def _largest(self, m, values):
        """The largest of signed ``values``, integer parts."""
        largest = Signal(signed(self.whole))
        m.d.comb += largest.eq(choose(first_largest(m, values), values))
        return largest


def seen_lanes(m, word, position, lanes, tokens):
    """For each lane of a word of scores whether its position is not after the token's."""
    bits = exact_log2(lanes)
    limit = _limit(m, word, position, tokens)
    before, within = word.index < limit[bits:], word.index == limit[bits:]
    return [before | (within & (limit[:bits] >= n)) for n in range(lanes)]


def own_lanes(m, word, position, lanes, tokens):
    """For each lane of a word of scores whether its position is the token's."""
    bits = exact_log2(lanes)
    limit = _limit(m, word, position, tokens)
    within = word.index == limit[bits:]
    return [within & (limit[:bits] == n) for n in range(lanes)]


def _limit(m, word, position, tokens):
    """The position of a word's token."""
    limit = Signal(INDEX_WIDTH + 1, name="limit")
    m.d.comb += limit.eq(position + (word.token if tokens > 1 else 0))
    return limit


def _table():
    """``254 * 2**(fraction / 256 - 1)`` for each fraction, 254 for 0."""
    return [int(exp2_table()[-fraction & 255]) >> 7 for fraction in range(256)]


def _rounded(m, half, beyond, exact):
    """``half / 2**(n + 1)``, rounded half up, for n from 0 to 7; ``half`` of a saturated score."""
    saturated = Mux(exact, _table()[0], _table()[255])  # those below are whole numbers
    m.d.comb += (chosen := Signal(8, name="chosen")).eq(Mux(beyond, saturated, half))
    return [((chosen[n:] + 1) >> 1)[: 8 - n] for n in range(8)]
