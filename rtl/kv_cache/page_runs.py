"""What a step reads of a paged cache, cut into runs that lie in one page each."""

from amaranth import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.machine.step import Operand, Region, fetch_layout, paged_layout
from celosia.rtl.stream.words import INDEX_WIDTH

__all__ = ["PageRuns"]


class PageRuns(wiring.Component):
    """For each step those that read the same in its order, each of one page.

    ``address`` is that of page 0. Of keys a piece is some of the ``tiles``, of values some of the
    ``words`` of one tile, of keys' steps some of the ``chunks``; page ``n`` of them lies where the
    page table says. Steps that are not ``paged`` pass as they are. Steps of the operand fetcher
    also say whether a piece ``opens`` and ``closes`` its tiles; only the first one ``fills``, and
    only pieces of the first tile have ``sums``.

    Latency 3 cycles. Throughput 1 step per cycle.

    Parameters
    ----------
    layout : StructLayout
        Of the steps: fetch_layout, recall_layout or scales_layout.
    places : CachePlaces
    view : celosia.reference.view.PagedView
    entry : StructLayout
        See :func:`celosia.rtl.kv_cache.kv_paged.entry_layout`.

    Members
    -------
    i : In(stream of paged_layout(layout))
    o : Out(stream of layout)
        Of the fetcher's in ``pieces``.
    entry, entry_en, block : Out, Out(1), In(unsigned(16))
        A port of the page table.
    """

    def __init__(self, layout, places, view, entry):
        members = layout.members
        self.fetches = "fills" in members
        self.count = "chunks" if "chunks" in members else None
        self.chunks = view.page // places.lanes  # of a page
        self.tiles = view.page // places.rows
        self.head_words = places.head_words
        super().__init__(
            {
                "i": In(stream.Signature(paged_layout(layout))),
                "o": Out(stream.Signature(fetch_layout(pieces=True) if self.fetches else layout)),
                "entry": Out(entry),
                "entry_en": Out(1),
                "block": In(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        new, out = self.i.p, self.o.p
        step, active = Signal(new.shape()), Signal()
        left, whole = (Signal(INDEX_WIDTH, name=name) for name in ("left", "whole"))
        page, size = Signal.like(self.entry.block), Signal(INDEX_WIDTH)
        first, first_tile = Signal(), Signal()  # piece of the step, tile of values
        advance, ends, last = Signal(), Signal(), Signal()
        keys, tiles, counted = Const(0, 1), 1, new[self.count] if self.count else None
        if not self.count:
            keys, tiles = step.operand == Operand.KEYS, step.tiles
            counted = Mux(new.operand == Operand.KEYS, new.tiles, new.words)
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            size.eq(Mux(keys, self.tiles, self.chunks)),
            ends.eq(left <= size),
            last.eq(~step.paged | (ends & (keys | (tiles == 1)))),
            self.i.ready.eq(~active | (advance & last)),
            self.entry.block.eq(page),
            self.entry_en.eq(advance),
        ]
        with m.If(advance & active):
            m.d.sync += [active.eq(~last), page.eq(page + 1), left.eq(left - size), first.eq(0)]
            with m.If(ends):  # the next tile of values
                m.d.sync += [page.eq(0), left.eq(whole), first_tile.eq(0)]
                if not self.count:
                    m.d.sync += step.address.eq(step.address + step.stride)
                    m.d.sync += step.tiles.eq(step.tiles - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [step.eq(new), active.eq(1), left.eq(counted), whole.eq(counted)]
            m.d.sync += [page.eq(0), first.eq(1), first_tile.eq(1)]

        # A cycle later the table has answered, one more and the piece has its page's address.
        piece, held = Signal.like(out), Signal()
        paged, of_keys = Signal(), Signal()
        of_page = Mux(
            of_keys, self.block * (self.tiles * self.head_words), self.block * self.chunks
        )
        with m.If(advance):
            m.d.sync += [
                *(piece[name].eq(step[name]) for name, _ in new.shape() if name != "paged"),
                *([piece.opens.eq(1), piece.closes.eq(1)] if self.fetches else []),
                paged.eq(step.paged),
                of_keys.eq(keys),
                held.eq(active),
                self.o.valid.eq(held),
                out.eq(piece),
                out.address.eq(piece.address + Mux(paged, of_page, 0)),
            ]
            with m.If(step.paged):
                count = Mux(ends, left, size)
                if self.count:
                    m.d.sync += piece[self.count].eq(count)
                else:
                    m.d.sync += piece.tiles.eq(Mux(keys, count, 1))
                    m.d.sync += piece.words.eq(Mux(keys, step.words, count))
                if self.fetches:
                    m.d.sync += [
                        piece.source_base.eq(step.source_base + Mux(keys, 0, page * self.chunks)),
                        piece.opens.eq(keys | (page == 0)),
                        piece.closes.eq(keys | ends),
                        piece.sums.eq(step.sums & first_tile),
                    ]
                    with m.If(~first):
                        m.d.sync += piece.fills.eq(Region.NONE)
        return m
