"""The recurrent unit: states of all layers, what gates let into them and out of them (MLGRU)."""

from amaranth import Array, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.reference.units.gate import GATE_FRACTION
from celosia.reference.units.recurrent import GATE_WIDTH, OUTPUT_WIDTH, STATE_WIDTH
from celosia.rtl.activation.gating import gating
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.host.host_states import state_port
from celosia.rtl.norm.gains import read_gains
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import framed

__all__ = ["LOOP", "Part", "Recurrent", "fills", "told_layout"]

SHARE_WIDTH = 17
LOOP = 4  # cycles from a state's use to that of the next one


class Part(enum.Enum, shape=2):
    """What a word holds of a layer, in the order in which these come."""

    FORGET = 0
    FILL = 1
    RELEASE = 2


def told_layout():
    """What ``argument`` says: the part, and the number of the layer's state."""
    return data.StructLayout({"part": Part, "layer": unsigned(6)})


def fills(argument):
    """Whether the words of an ``argument``, a number, change states."""
    return told_layout().from_bits(argument).part == Part.FILL


class Recurrent(wiring.Component):
    """``output * silu(h) / 2**shift``, of states ``h + share * (silu(i) - h)`` kept here.

    ``share = most * sigmoid(-z)``. Of each layer come the words of all ``z``, then those of all
    ``i``, then those of all ``output``, and of these alone come results. At position 0 the states
    are 0. Bit-exact with :mod:`celosia.reference.units.recurrent`, where formats and roundings
    stand.

    Latency 12 cycles. Throughput 1 word per cycle; before another part the words of the one before
    it leave the unit, and a token's word of ``i`` comes 4 cycles or more behind that of the token
    before it.

    Parameters
    ----------
    lanes : int, 1 to 64
    words : int, 1 to 4096
        In a layer's vector.
    most : sequence of int[words * lanes] from 0 to 2**16, 1 to 64 of them
        Of each layer.
    fraction : int, 0 to 12
        Bits behind the point of ``z`` and ``i``.
    state_fraction : int, ``fraction`` to ``fraction + 16``
        Of the states, which have 18 bits.
    shift : int, 0 to 35
    o_width : int, 16 to 24
    tokens : int, 1 to 64
        In a group, one position after the other.
    more
        Further members of the words, name to shape, which are passed on.

    Members
    -------
    i : In(stream of framed(lanes, 24, tokens, ...))
        ``argument`` as :func:`told_layout` has it. ``z`` and ``i`` saturate to 20 bits, ``output``
        to 18.
    o : Out(stream of framed(lanes, o_width, tokens, ...))
    position : In(unsigned(20))
        Of the group's first token.
    host : In(state_port)
        Reading and writing states between runs, of the places of :attr:`values`: layer by layer,
        word by word, lane by lane, each of these in the next power of two.
    ended : Out(1)
        The last word of a part without results has been kept.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 12

    def __init__(
        self, lanes, words, most, fraction, state_fraction, shift, o_width=24, tokens=1, **more
    ):
        check_range("lanes", lanes, 1, 64)
        check_range("words", words, 1, 4096)
        check_range("len(most)", len(most), 1, 64)
        check_range("fraction", fraction, 0, GATE_FRACTION)
        check_range("state_fraction", state_fraction, fraction, fraction + 16)
        check_range("shift", shift, 0, 35)
        check_range("o_width", o_width, 16, 24)
        check_range("tokens", tokens, 1, 64)
        for row in most:
            if len(row) != words * lanes or min(row) < 0 or max(row) > 1 << 16:
                raise ValueError(f"each of most must be int[{words * lanes}] from 0 to 2**16")
        self.lanes = lanes
        self.words = words
        self.most = [list(row) for row in most]
        self.fraction = fraction
        self.state_fraction = state_fraction
        self.shift = shift
        self.o_width = o_width
        self.tokens = tokens
        self.more = more
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, 24, tokens, **more))),
                "o": Out(stream.Signature(framed(lanes, o_width, tokens, **more))),
                "position": In(20),
                "host": In(state_port()),
                "ended": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._quiet = Signal()
        m.d.sync += self._quiet.eq(self.host.quiet)
        i, left = stream.Signature(self.i.p.shape()).create(), Signal()
        pipe = Pipeline(m, i, self.o)
        self._separate(m, i, left, pipe.advance)
        memories = self._memories(m)
        word = {n: i.p[n] for n in ("token", "index", "argument", "last", *self.more)}
        read = self._read(m, memories, i.p, pipe.advance)
        word, values = pipe.stage(word, list(i.p.data))
        word, values, read = pipe.stage(word, values, read)
        word, values, read, first = self._first(m, pipe, memories, word, values, read)
        self._write(m, memories, "shares", pipe, Part.FORGET, word, first)
        fill, held = _part(word) == Part.FILL, read["states"]
        a = [Mux(fill, x - h, x)[:20].as_signed() for x, h in zip(first, held, strict=True)]
        b = zip(read["shares"], values, strict=True)
        b = [Mux(fill, share, clamp(v, OUTPUT_WIDTH))[:18].as_signed() for share, v in b]
        products, (word, held) = _multiplied(m, pipe, a, b, (word, held))

        moved = ((p + (1 << 15)) >> 16 for p in products)
        sums = [clamp(h + step, STATE_WIDTH) for h, step in zip(held, moved, strict=True)]
        for name in [name for name in memories if name != "shares"]:
            self._write(m, memories, name, pipe, Part.FILL, word, sums)
        half, kept = (1 << self.shift) >> 1, Signal()
        results = [clamp((p + half) >> self.shift, self.o_width) for p in products]
        m.d.comb += [
            kept.eq(pipe.valid & pipe.advance & (_part(word) != Part.RELEASE)),
            left.eq(kept | (self.o.valid & self.o.ready)),
        ]
        m.d.sync += self.ended.eq(kept & word["last"])
        pipe.valid = pipe.valid & (_part(word) == Part.RELEASE)
        word, results = pipe.stage(word, results)
        pipe.finish({**word, "data": results})
        return m

    def _separate(self, m, i, left, advance):
        """The words to ``i``: those of another part when all before them have ``left``.

        Those that fill a state when the token before has.
        """
        inside = Signal(range(self.latency + 2))
        current = Signal(Part)
        part = told_layout()(self.i.p.argument).part
        go = (inside == 0) | (part == current)
        enters = self.i.valid & self.i.ready
        if self.tokens > 1:
            filling = Signal(LOOP - 1)
            with m.If(advance):
                m.d.sync += filling.eq(Cat(enters & (part == Part.FILL), filling))
            go = go & ~((self.i.p.token != 0) & filling.any())
        m.d.comb += [
            i.payload.eq(self.i.p),
            i.valid.eq(self.i.valid & go),
            self.i.ready.eq(i.ready & go),
        ]
        m.d.sync += inside.eq(inside + enters - left)
        with m.If(enters):
            m.d.sync += current.eq(part)

    def _memories(self, m):
        """Of all layers' states, and one layer's shares; of each token, if there are several.

        Then the states that the tokens have seen are kept, too, until they are released.
        """
        several, words = self.tokens > 1, self.tokens << self._index_width
        sizes = {"states": len(self.most) << self._index_width}
        sizes |= {"shares": words, "seen": words} if several else {"shares": self.words}
        memories = {}
        for name, depth in sizes.items():
            shape = unsigned(SHARE_WIDTH) if name == "shares" else signed(STATE_WIDTH)
            row = data.ArrayLayout(shape, self.lanes)
            m.submodules[name] = memories[name] = Memory(shape=row, depth=depth, init=[])
        return memories

    @property
    def values(self):
        """Places of values of all states."""
        return len(self.most) << self._index_width + ceil_log2(self.lanes)

    @property
    def _index_width(self):
        return ceil_log2(self.words)

    def _address(self, name, word):
        """A word's place in the memory of that name."""
        layer = told_layout()(word["argument"]).layer
        outer = layer if name == "states" or self.tokens == 1 else word["token"]
        return Cat(word["index"][: self._index_width], outer)

    def _read(self, m, memories, word, en):
        """What the memories hold of a word's place, an ``en`` later; of most, too.

        Of several tokens the states are those that they have seen.
        """
        states = "seen" if self.tokens > 1 else "states"
        names = {"states": states, "shares": "shares"}
        values = {n: self._read_one(m, memories, name, word, en) for n, name in names.items()}
        where = self.lanes, word["index"], told_layout()(word["argument"]).layer, en
        return values | {"most": list(read_gains(m, self.most, *where, 18, "most"))}

    def _read_one(self, m, memories, name, word, en):
        port = memories[name].read_port()
        m.d.comb += [port.addr.eq(self._address(name, word)), port.en.eq(en)]
        if name == "states":  # no word stops while there is no run
            lane = self.host.address[: ceil_log2(self.lanes)]
            m.d.comb += self.host.value.eq(Array(port.data)[lane])
            with m.If(self._quiet):
                m.d.comb += port.addr.eq(self.host.address >> len(lane))
        return list(port.data)

    def _write(self, m, memories, name, pipe, part, word, values):
        """Keep the values of the words of a part; between runs states that the host brings."""
        port = memories[name].write_port(granularity=1 if name == "states" else None)
        keeps = pipe.valid & pipe.advance & (_part(word) == part)
        m.d.comb += [
            port.addr.eq(self._address(name, word)),
            port.en.eq(keeps.replicate(len(port.en))),
            *(port.data[n].eq(value) for n, value in enumerate(values)),
        ]
        if name == "states":
            write, width = self.host.write, ceil_log2(self.lanes)
            with m.If(self._quiet):
                m.d.comb += [
                    port.addr.eq(write.p.address >> width),
                    port.en.eq(write.valid << write.p.address[:width]),
                    *(value.eq(write.p.value) for value in port.data),
                ]

    def _first(self, m, pipe, memories, word, values, read):
        """What a sigmoid lets pass of most, of a new value or of a state; 7 stages later."""
        part, fresh = _part(word), Signal()
        m.d.sync += fresh.eq(self.position == 0)
        states = read["states"]
        if self.tokens == 1:
            states = [Mux(fresh & (part == Part.FILL), 0, h).as_signed() for h in states]
        release, finer = part == Part.RELEASE, self.state_fraction - self.fraction
        pairs = list(zip(states, values, strict=True))
        x = [Mux(release, h >> finer, v)[:24].as_signed() for h, v in pairs]
        a = []
        for (h, v), most in zip(pairs, read["most"], strict=True):
            other = Mux(part == Part.FORGET, most, clamp(v, GATE_WIDTH))
            a.append(Mux(release, h, other)[:GATE_WIDTH].as_signed())
        rest = {"states": states, "shares": read["shares"]}
        carried = [word, values, rest, a]
        shares, carried = gating(m, pipe, x, GATE_FRACTION - self.fraction, "silu", carried)
        word, values, rest, a = carried
        forget = _part(word) == Part.FORGET
        shares = [Mux(forget, (1 << 16) - y, y)[:SHARE_WIDTH] for y in shares]
        products, (word, values, rest) = _multiplied(m, pipe, a, shares, (word, values, rest))
        places = self.fraction + 16 - self.state_fraction
        new = [clamp((p + ((1 << places) >> 1)) >> places, STATE_WIDTH) for p in products]
        other = [(p + (1 << 15)) >> 16 for p in products]
        fill = _part(word) == Part.FILL
        first = [Mux(fill, x, y)[:18].as_signed() for x, y in zip(new, other, strict=True)]
        before = word
        word, values, rest, first = pipe.stage(word, values, rest, first)
        if self.tokens > 1:  # late, so that the token before has filled it
            held = self._read_one(m, memories, "states", before, pipe.advance)
            none = fresh & (word["token"] == 0)
            rest["states"] = [Mux(none, 0, h).as_signed() for h in held]
        return word, values, rest, first


def _part(word):
    return told_layout()(word["argument"]).part


def _multiplied(m, pipe, a, b, carried):
    """Products of signed(20) and 18 bits by multipliers of 18 bits, two stages later."""
    pairs = list(zip(a, b, strict=True))
    high = [multiply_registered(m, x[2:].as_signed(), y, pipe.advance) for x, y in pairs]
    low, b, carried = pipe.stage([x[:2] for x in a], b, list(carried))
    pairs = zip(low, b, strict=True)
    low, carried = pipe.stage([Mux(x[0], y, 0) + Mux(x[1], y << 1, 0) for x, y in pairs], carried)
    return [(x << 2) + y for x, y in zip(high, low, strict=True)], carried
