"""Softmax in blocks: exponentials relative to each block's own power of two."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2
from celosia.reference.functions.tables import exp2_table
from celosia.reference.units.softmax import empty
from celosia.rtl.kv_cache.slots import check_slots, seen_layout, seen_shape, view_member
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, choose, clamp, first_largest
from celosia.rtl.stream.words import INDEX_WIDTH, framed

__all__ = ["SoftmaxBlock", "own_lanes", "seen_lanes"]

FAN_IN = 8  # lanes whose largest score is found in one stage
TABLE = 8  # bits of a score behind the point that address the table


class SoftmaxBlock(wiring.Component):
    """``127 * 2**(score - exponent)`` for each word of scores, those of unseen positions zero.

    Scores, in units of ``2**-fraction``, saturate to ``width`` bits, of which ``whole`` are before
    the point; powers are rounded half up. Lane ``j`` of word ``index`` is slot
    ``index * lanes + j``; it counts as :func:`celosia.reference.view.slot_positions` says: in a
    linear cache where it is at most ``position + token``. The exponent of a word without such a
    lane is ``empty(whole)``. Bit-exact with :func:`celosia.reference.units.softmax.softmax_block`.

    What :class:`celosia.rtl.attention.softmax.Softmax` divides, the machine leaves to the scaling
    stage behind the fabric: no score waits for a maximum or a sum.

    Latency 3 cycles, 4 where ``lanes`` exceeds 8. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    tokens : int, 1 to 64
    fraction : int, 0 to 8
    width : int, ``fraction + 8`` to 24
    views : sequence of celosia.reference.view.View, optional
        What words may see. By default, and where none has a window, a linear cache.
    most_words : int, 1 to 2**20
        The most words of a token's scores.

    Members
    -------
    position : In(unsigned(20))
        Of token 0, where there is no window. Constant while words come.
    seen : In(seen_layout[views, tokens])
        Where there is one: the slots that count, see :class:`celosia.rtl.kv_cache.slots.Slots`.
        Constant while words come.
    i : In(stream of framed(lanes, 24, tokens))
        With several views, and a window among them, a word also has the number of its ``view``.
    o : Out(stream of framed(lanes, unsigned(7), tokens, exponent=signed(whole + 2)))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(
        self, lanes, tokens=1, fraction=TABLE, width=16, views=(), most_words=1 << INDEX_WIDTH
    ):
        check_power_of_two("lanes", lanes, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("fraction", fraction, 0, TABLE)
        check_range("width", width, fraction + 8, 24)
        check_range("most_words", most_words, 1, 1 << INDEX_WIDTH)
        for view in views:
            check_slots(view, tokens, lanes=lanes)
        self.most_words = most_words
        self.lanes = lanes
        self.tokens = tokens
        self.views = tuple(views)
        self.windows = any(view.wraps for view in self.views)
        self.fraction = fraction
        self.width = width
        self.whole = width - fraction
        self.latency = 3 if lanes <= FAN_IN else 4
        bounds, more = {"position": In(INDEX_WIDTH)}, {}
        if self.windows:
            bounds = {"seen": In(seen_shape(len(self.views), tokens))}
            more = view_member(self.views)
        o = framed(lanes, unsigned(7), tokens, exponent=signed(self.whole + 2))
        super().__init__(
            {
                **bounds,
                "i": In(stream.Signature(framed(lanes, 24, tokens, **more))),
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
        valid = seen_lanes(m, word, self)
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
        some = Cat(valid).any() if self.windows else valid[0]  # the first slot counts, if any does
        m.d.comb += exponent.eq(Mux(some, best + 1, empty(self.whole)))
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


def seen_lanes(m, word, unit):
    """For each lane of a word of scores whether its token sees the slot, as ``unit`` is told."""
    index, slot, place, held = _where(m, word, unit)
    before, at = index < slot, index == slot
    up_to = [before | (at & (place >= n)) for n in range(unit.lanes)]
    if held is None:
        return up_to
    oldest, first = _split(held.oldest, unit)
    after, at = index > oldest, index == oldest
    since = [after | (at & (first <= n)) for n in range(unit.lanes)]
    pairs = zip(up_to, since, strict=True)
    return [Mux(held.wrapped, first | last, first & last) for first, last in pairs]


def own_lanes(m, word, unit):
    """For each lane of a word of scores whether its slot is that of the token itself."""
    index, slot, place, _ = _where(m, word, unit)
    within = index == slot
    return [within & (place == n) for n in range(unit.lanes)]


def _where(m, word, unit):
    """The word's number; its token's slot as such a number and a lane; what a window sees."""
    slot, held = _slot(m, word, unit)
    return word.index[: _index_width(unit)], *_split(slot, unit), held


def _index_width(unit):
    """Bits that number a token's words: no others are compared."""
    return max(1, ceil_log2(unit.most_words))


def _split(slot, unit):
    """A slot's word, by its number, and its lane."""
    bits = exact_log2(unit.lanes)
    return slot[bits:][: _index_width(unit)], slot[:bits]


def _slot(m, word, unit):
    """The slot of a word's token, and where there is a window what it sees."""
    slot = Signal(INDEX_WIDTH + 1, name="slot")
    token = word.token if unit.tokens > 1 else 0
    if not unit.windows:
        m.d.comb += slot.eq(unit.position + token)
        return slot, None
    held = Signal(seen_layout(), name="held")
    tokens = unit.seen[word.view if len(unit.views) > 1 else 0]
    m.d.comb += [held.eq(tokens[token]), slot.eq(held.slot)]
    return slot, held


def _table():
    """``254 * 2**(fraction / 256 - 1)`` for each fraction, 254 for 0."""
    return [int(exp2_table()[-fraction & 255]) >> 7 for fraction in range(256)]


def _rounded(m, half, beyond, exact):
    """``half / 2**(n + 1)``, rounded half up, for n from 0 to 7; ``half`` of a saturated score."""
    saturated = Mux(exact, _table()[0], _table()[255])  # those below are whole numbers
    m.d.comb += (chosen := Signal(8, name="chosen")).eq(Mux(beyond, saturated, half))
    return [((chosen[n:] + 1) >> 1)[: 8 - n] for n in range(8)]
