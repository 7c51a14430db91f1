"""Words of another shape: more or fewer lanes, or rows as columns."""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.words import framed

__all__ = ["Transposer", "WidthConverter"]


class WidthConverter(wiring.Component):
    """The same vectors in words of ``o_lanes`` values instead of ``lanes``.

    Where a vector ends within a word, the rest of it is zeros. What else belongs to a word is that
    of the last one that it is made of. An input word's place is that of its index, so that words
    behind a broken vector find theirs.

    Latency 1 cycle from the last word that a word is made of. Throughput 1 word per cycle on the
    side with fewer lanes.

    Parameters
    ----------
    lanes, o_lanes : int, powers of two from 1 to 64
    width : int, 1 to 64

    Members
    -------
    i : In(stream of framed(lanes, width))
        One vector after another, ``last`` with each one's last word.
    o : Out(stream of framed(o_lanes, width))

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 1

    def __init__(self, lanes, o_lanes, width):
        check_power_of_two("lanes", lanes, 64)
        check_power_of_two("o_lanes", o_lanes, 64)
        check_range("width", width, 1, 64)
        self.lanes = lanes
        self.o_lanes = o_lanes
        self.width = width
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, width))),
                "o": Out(stream.Signature(framed(o_lanes, width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = stream.Signature(self.o.p.shape()).create()
        pipe = Pipeline(m, word, self.o)
        m.d.comb += [word.p[name].eq(self.i.p[name]) for name in ("token", "argument")]
        if self.o_lanes > self.lanes:
            self._join(m, word)
        else:
            self._split(m, word)
        pipe.finish(*pipe.stage(word.p))
        return m

    def _split(self, m, o):
        """One part of the word after the other."""
        i, parts = self.i, self.lanes // self.o_lanes
        part, final = Signal(exact_log2(parts)), Signal()
        m.d.comb += [
            final.eq(part == parts - 1),
            o.valid.eq(i.valid),
            i.ready.eq(o.ready & final),
            o.p.index.eq(Cat(part, i.p.index)),
            o.p.last.eq(i.p.last & final),
            o.p.data.eq(i.p.data.as_value().word_select(part, self.o_lanes * self.width)),
        ]
        with m.If(o.valid & o.ready):
            m.d.sync += part.eq(part + 1)

    def _join(self, m, o):
        """The words before are kept until the word is full, or the vector ends."""
        i, parts = self.i, self.o_lanes // self.lanes
        place, final = Signal(exact_log2(parts)), Signal()
        size = self.lanes * self.width
        kept = Signal((parts - 1) * size)
        m.d.comb += [
            place.eq(i.p.index),
            final.eq((place == parts - 1) | i.p.last),
            o.valid.eq(i.valid & final),
            i.ready.eq(o.ready | ~final),
            o.p.index.eq(i.p.index[len(place) :]),
            o.p.last.eq(i.p.last),
        ]
        for n in range(parts):
            part = o.p.data.as_value()[n * size : (n + 1) * size]
            before = kept[n * size : (n + 1) * size] if n < parts - 1 else 0
            now = i.p.data.as_value()
            m.d.comb += part.eq(Mux(place == n, now, Mux(place > n, before, 0)))
            if n < parts - 1:
                with m.If(i.valid & i.ready & (place == n)):
                    m.d.sync += kept[n * size : (n + 1) * size].eq(now)


class Transposer(wiring.Component):
    """Tiles of ``lanes`` words, transposed: value ``j`` of word ``k`` becomes value k of word j.

    A tile's words have the token and argument of its last one. A larger matrix is transposed tile
    by tile, its tiles in the order that is wanted of the result.

    Latency ``lanes`` cycles from a tile's first word to its first. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    width : int, 1 to 64

    Members
    -------
    i : In(stream of framed(lanes, width))
        A word's place in its tile is that of its index, from a multiple of ``lanes`` on.
    o : Out(stream of framed(lanes, width))
        ``last`` with the last word of a tile whose last word had it.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, width):
        check_power_of_two("lanes", lanes, 64)
        check_range("width", width, 1, 64)
        self.lanes = lanes
        self.width = width
        self.latency = lanes
        word = stream.Signature(framed(lanes, width))
        super().__init__({"i": In(word), "o": Out(word)})

    def elaborate(self, platform):
        m = Module()
        i, o, n, bits = self.i, self.o, self.lanes, exact_log2(self.lanes)
        value = signed(self.width)
        rows = [[Signal(value, name=f"row_{k}_{j}") for j in range(n)] for k in range(n - 1)]
        columns = [[Signal(value, name=f"column_{j}_{k}") for k in range(n)] for j in range(n)]
        left, moving, full = Signal(range(n + 1)), Signal(), Signal()
        tile, last = Signal.like(i.p.index), Signal()
        m.d.comb += [
            full.eq(i.p.index[:bits] == n - 1),
            moving.eq(o.ready & (left <= 1)),  # the tile before is on its way
            i.ready.eq(~full | (left == 0) | moving),
            o.valid.eq(left != 0),
            o.p.index.eq(Cat((n - left)[:bits], tile[bits:])),
            o.p.last.eq(last & (left == 1)),
            *(x.eq(column) for x, column in zip(o.p.data, columns[0], strict=True)),
        ]
        with m.If(o.valid & o.ready):
            m.d.sync += left.eq(left - 1)
            for column, following in pairwise(columns):
                m.d.sync += [x.eq(y) for x, y in zip(column, following, strict=True)]
        with m.If(i.valid & i.ready & full):
            words = [*rows, list(i.p.data)]
            m.d.sync += [left.eq(n), tile.eq(i.p.index), last.eq(i.p.last)]
            m.d.sync += [o.p.token.eq(i.p.token), o.p.argument.eq(i.p.argument)]
            m.d.sync += [columns[j][k].eq(words[k][j]) for j in range(n) for k in range(n)]
        for k, row in enumerate(rows):
            with m.If(i.valid & i.ready & (i.p.index[:bits] == k)):
                m.d.sync += [x.eq(y) for x, y in zip(row, i.p.data, strict=True)]
        return m
