"""The operand fetcher's way through the tiles of its steps, and what it waits for there."""

from amaranth import Mux, Signal
from celosia.rtl.machine.step import Operand, Region, fetch_layout
from celosia.rtl.stream.words import INDEX_WIDTH

__all__ = ["walk_tiles"]


def walk_tiles(m, fetch, beat, advance):
    """The beats of one step after the other; whether there is one, and its word was written."""
    step = Signal(fetch_layout(fetch.pieces))  # all of this is in registers: known before its beat
    active, available, begin = Signal(), Signal(), Signal()
    first_tile, last_tile, single = Signal(), Signal(), Signal()
    words, tiles = Signal(fetch.size_width), Signal(fetch.size_width)  # left, with this one
    next_tile = Signal(28)
    ahead = Signal(INDEX_WIDTH)  # activation_address + 1
    new, accepted = fetch.step.p, Signal()
    m.d.comb += [
        begin.eq(active & available & advance & ~fetch.full),
        fetch.step.ready.eq(~active | (begin & beat.last & last_tile)),
        accepted.eq(fetch.step.valid & fetch.step.ready),
    ]
    _describe(m, beat, step, first_tile, fetch.pieces)
    with m.If(begin):
        m.d.sync += [
            fetch.address.eq(fetch.address + 1),
            fetch.activation_address.eq(fetch.activation_address + ~beat.upper),
            ahead.eq(ahead + ~beat.upper),
            words.eq(words - 1),
            beat.upper.eq(step.planes & ~beat.upper),
            beat.first.eq(0),
            beat.last.eq(words == 2),
        ]
        with m.If(beat.last):
            m.d.sync += [
                fetch.address.eq(next_tile),
                next_tile.eq(next_tile + step.stride),
                fetch.activation_address.eq(step.source_base),
                ahead.eq(step.source_base + 1),
                words.eq(step.words),
                tiles.eq(tiles - 1),
                beat.first.eq(1),
                beat.last.eq(single),
                beat.upper.eq(step.planes),
                first_tile.eq(0),
                last_tile.eq(tiles == 2),
                active.eq(~last_tile),
            ]
    with m.If(accepted):
        m.d.sync += [
            step.eq(new),
            active.eq(1),
            fetch.address.eq(new.address),
            next_tile.eq(new.address + new.stride),
            fetch.activation_address.eq(new.source_base),
            ahead.eq(new.source_base + 1),
            words.eq(new.words),
            tiles.eq(new.tiles),
            single.eq(new.words == 1),
            beat.upper.eq(new.planes),
            beat.first.eq(1),
            beat.last.eq(new.words == 1),
            first_tile.eq(1),
            last_tile.eq(new.tiles == 1),
        ]
    _look_ahead(m, fetch, available, beat, step, ahead, accepted, begin)
    return active, available


def _describe(m, beat, step, first_tile, pieces):
    """What all beats of a step, or of its first tile, have in common."""
    from_tape = step.operand == Operand.TAPE
    if "wide" in beat.shape().members:
        wide = step.operand == Operand.WIDE
        m.d.comb += beat.wide.eq(wide)
        from_tape |= wide
    m.d.comb += [
        beat.operand.eq(step.operand),
        beat.source.eq(step.source),
        beat.row.eq(step.row),
        beat.buffer.eq(step.buffer),
        beat.from_tape.eq(from_tape),
        beat.embedding.eq(step.loads),
        beat.sum.eq(step.sums & first_tile),
        *(
            beat[name].eq(step[name])
            for name in ("opens", "closes")
            if name in beat.shape().members
        ),
    ]


def _look_ahead(m, fetch, available, beat, step, ahead, accepted, begin):
    """Whether the next beat's word is there, a cycle ahead: this one goes on, or that one comes.

    And the region that a new step fills anew.
    """
    new = fetch.step.p
    m.d.sync += [
        fetch.refill.eq(new.fills),
        fetch.refill_en.eq(accepted & (new.fills != Region.NONE)),
    ]
    there = _written(m, fetch, fetch.activation_address, step.region)
    after = _written(m, fetch, ahead, step.region)
    again = _written(m, fetch, step.source_base, step.region)
    with m.If(accepted):
        m.d.sync += available.eq(_written(m, fetch, new.source_base, new.region))
    with m.Elif(begin):
        m.d.sync += available.eq(Mux(beat.last, again, Mux(beat.upper, there, after)))
    with m.Else():
        m.d.sync += available.eq(there)


def _written(m, fetch, address, region):
    """Whether the activations at ``address`` can be read in the next cycle."""
    bits = fetch.blocks.bit_length()
    below, written = Signal(len(fetch.filled)), Signal()
    place = address[:bits]
    for n, mark in enumerate(fetch.filled):
        fresh = mark.moves & (place <= mark.fresh[:bits])
        m.d.comb += below[n].eq(((place < mark.end[:bits]) | fresh) & ~mark.falls)
    with m.Switch(region):
        for index, one in enumerate((Region.NORMED, Region.ATTENTION, Region.HIDDEN)):
            with m.Case(one):
                m.d.comb += written.eq(below[index])
        with m.Default():
            m.d.comb += written.eq(1)
    return written
