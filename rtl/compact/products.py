"""The compact machine's dot products: activations, cache, and when operands are issued."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.compact.fabric import CompactFabric
from celosia.rtl.compact.operation import A
from celosia.rtl.compact.sequencer import run_layout
from celosia.rtl.compact.trits import Trits

__all__ = ["CompactProducts"]


class CompactProducts(wiring.Component):
    """Feeds the fabric with beats of weights or cached bytes, and issues each vector operation.

    ``issue`` is high in each cycle of an instruction without dot products while some are left;
    with weights of the embedding a cycle after these were read; else when ``product`` is there in
    the next cycle. Throughput 1 beat per cycle.

    Parameters
    ----------
    shape : CompactShape

    Members
    -------
    run : In(run_layout)
    row : In(unsigned(20))
        Of the embedding.
    issue : Out(1)
    product : Out(signed(acc_width))
    weight : Out(signed(weight_width))
        The next one of that row.
    addr, read : Out(range(tape_words)), In(unsigned(word_bits))
        The tape of weights.
    target : In(unsigned)
    y : In(signed(8))
    byte, cached : In(1)
        ``y`` is written at ``target`` of the activations, or of the cache; in bytes.
    """

    def __init__(self, shape):
        self.shape = shape
        self.cache_depth = shape.cache_words * shape.n_layers
        super().__init__(
            {
                "run": In(run_layout(shape)),
                "row": In(20),
                "issue": Out(1),
                "product": Out(signed(shape.acc_width)),
                "weight": Out(signed(shape.weight_width)),
                "addr": Out(range(shape.tape_words)),
                "read": In(shape.word_bits),
                "target": In(range(shape.columns * max(self.cache_depth, shape.vector_words))),
                "y": In(signed(8)),
                "byte": In(1),
                "cached": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        s, run, control = self.shape, self.run, self.run.control
        m.submodules.fabric = fabric = CompactFabric(
            s.acc_width, s.rows, s.columns, s.weight_width, s.spram, s.ternary_rows
        )
        products, embeds = control.a == A.PRODUCT, control.a >= A.EMBEDDING
        place = Signal(range(s.tape_words))
        lane, before = Signal(range(s.columns)), Signal(range(s.columns))
        row_bits, row_width = ceil_log2(s.rows), s.columns * s.weight_width
        cache_place, vector_place = Signal(range(self.cache_depth)), Signal(range(s.vector_words))
        beat = Signal.like(run.beats)
        rows = Signal(signed(s.bits["count"] + 1))  # still to be fed
        feed, last = Signal(), Signal()
        x = self._memory(m, "vectors", s.vector_words, vector_place, self.byte)
        cached = self._memory(m, "cache", self.cache_depth, cache_place, self.cached)
        skip = Signal(range(s.window // s.columns + 1))  # to the next channel's values
        m.d.comb += [
            skip.eq(s.window // s.columns + 1 - run.beats),
            feed.eq(run.going & products & (rows > 0)),
            last.eq(beat == run.beats - 1),
            self.addr.eq(place),
        ]
        with m.If(feed):
            m.d.sync += [beat.eq(beat + 1), vector_place.eq(vector_place + 1)]
            m.d.sync += cache_place.eq(cache_place + Mux(last & control.along, skip, 1))
            with m.If(~control.cache):
                m.d.sync += place.eq(place + 1)
            with m.If(last):
                m.d.sync += [beat.eq(0), vector_place.eq(run.vector)]
                m.d.sync += rows.eq(rows - Mux(control.cache, 1, self._tile))
        with m.If(run.going & embeds):  # one ahead of what is issued
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == s.columns - 1):
                m.d.sync += place.eq(place + 1)
        with m.If(run.begin):
            m.d.sync += [
                rows.eq(run.count),
                beat.eq(0),
                lane.eq(0),
                vector_place.eq(run.vector),
                cache_place.eq(run.cache_base + run.word.source),
            ]
            with m.If(embeds):
                m.d.sync += place.eq(
                    s.embedding_address + (self.row >> row_bits) * (s.dim // s.columns)
                )
        with m.If(run.rewind):
            m.d.sync += place.eq(0)

        fed, ended, chosen = Signal(), Signal(), Signal()
        m.d.sync += [fed.eq(feed), ended.eq(last)]
        m.d.sync += [before.eq(lane), chosen.eq(run.going & embeds)]
        read, x, cached, fed, ended, before, chosen = self._later(
            m, self.read, x, cached, fed, ended, before, chosen
        )
        weights = read.word_select(self.row[:row_bits], row_width)
        m.d.sync += self.weight.eq(weights.word_select(before, s.weight_width))
        most = max(s.rows, s.ternary_rows)
        more, ready = Signal(range(most)), Signal()  # results behind the one that is done
        m.d.comb += [
            fabric.beat.eq(fed),
            fabric.last.eq(ended),
            fabric.x.as_value().eq(x),
            fabric.bytes.as_value().eq(Mux(control.ones, Cat([Const(1, 8)] * s.columns), cached)),
            fabric.weights.as_value().eq(read),
            fabric.cached.eq(control.cache),
            fabric.next.eq(run.valid & products),
            self.product.eq(fabric.result),
            ready.eq(Mux(embeds, chosen, ~products | fabric.done | (more != 0))),
            self.issue.eq(run.going & run.left & ready),
        ]
        self._ternary(m, fabric, read)
        self._rest(m, fabric.done, more)
        return m

    @property
    def _wide(self):
        """Where layers' weights are ternary: whether these are none."""
        return self.run.control.cache | self.run.control.largest

    @property
    def _tile(self):
        """Rows of weights that are fed together."""
        s = self.shape
        return Mux(self._wide, s.rows, s.ternary_rows) if s.ternary else s.rows

    def _ternary(self, m, fabric, word):
        """The ternary weights of a word of the tape, where there are such."""
        digits = []
        for number in range(self.shape.word_bits // 8 * self.shape.ternary):
            m.submodules[f"trits_{number}"] = unit = Trits()
            m.d.comb += unit.i.eq(word.word_select(number, 8))
            digits.append(unit.o.as_value())
        if digits:
            m.d.comb += [fabric.ternary.eq(~self._wide), fabric.trits.as_value().eq(Cat(digits))]

    def _later(self, m, *values):
        """``values``, a cycle later where the tape is far."""
        if not self.shape.far:
            return values
        later = [Signal(len(value), name=f"later_{n}") for n, value in enumerate(values)]
        m.d.sync += [one.eq(value) for one, value in zip(later, values, strict=True)]
        return later

    def _rest(self, m, done, more):
        """Counts the results behind the one that is done."""
        run = self.run
        with m.If(run.begin):  # of a last tile that was not whole
            m.d.sync += more.eq(0)
        with m.Elif(done):
            m.d.sync += more.eq(Mux(run.control.cache, 0, self._tile - 1))
        with m.Elif(more != 0):
            m.d.sync += more.eq(more - 1)

    def _memory(self, m, name, depth, place, en):
        """A memory of bytes: the word at ``place``, a cycle later."""
        octets = self.shape.columns
        lane_bits = ceil_log2(octets)
        m.submodules[name] = store = memory.Memory(shape=unsigned(8 * octets), depth=depth, init=[])
        write, read = store.write_port(granularity=8), store.read_port()
        lanes = Signal(octets, name=f"{name}_lanes")
        m.d.comb += [
            lanes.eq(1 << self.target[:lane_bits]),
            write.addr.eq(self.target >> lane_bits),
            write.data.eq(self.y.replicate(octets)),
            write.en.eq(Mux(en, lanes, 0)),
            read.addr.eq(place),
        ]
        return read.data
