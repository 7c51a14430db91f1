"""Where in its head a word of a stream belongs."""

from amaranth import Mux, Signal, unsigned

__all__ = ["HEAD_WIDTH", "head_place"]

HEAD_WIDTH = 8


def head_place(m, i, head_words):
    """The place in its head, and the head's number, of the word that stream ``i`` offers.

    The words of an operation have the indices 0, 1, ... and each index up to as many tokens as the
    first; ``index = head * head_words + place``.

    Returns
    -------
    Signal(unsigned(8)), Signal(unsigned(8))
    """
    place, head, last_place, last_head = (Signal(unsigned(HEAD_WIDTH)) for _ in range(4))
    odd, moved, full = (Signal() for _ in range(3))
    m.d.comb += [
        moved.eq(i.p.index[0] != odd),
        full.eq(last_place == head_words - 1),
        place.eq(Mux(moved, Mux(full, 0, last_place + 1), last_place)),
        head.eq(last_head + (moved & full)),
    ]
    with m.If(i.valid & i.ready):
        m.d.sync += [odd.eq(i.p.index[0]), last_place.eq(place), last_head.eq(head)]
        with m.If(i.p.last):
            m.d.sync += [odd.eq(0), last_place.eq(0), last_head.eq(0)]
    return place, head
