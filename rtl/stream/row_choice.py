"""A choice among many words that lie all over a chip, in two stages."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.rtl.stream.checks import check_range

__all__ = ["RowChoice"]

NEIGHBOURS = 8  # words of which the first stage chooses one


class RowChoice(wiring.Component):
    """``words[row]``: first among each eight neighbours, then among those.

    Latency 2 cycles. Throughput 1 choice per cycle.

    Parameters
    ----------
    shape : shape-like
    rows : int, 1 to 1024

    Members
    -------
    i : In(stream of ``words``, shape[rows], and ``row``), always ready
    o : Out(stream of shape), always ready

    Raises
    ------
    ValueError
        If ``rows`` is out of range.
    """

    def __init__(self, shape, rows):
        check_range("rows", rows, 1, 1024)
        self.rows = rows
        i = data.StructLayout({"words": data.ArrayLayout(shape, rows), "row": ceil_log2(rows)})
        super().__init__(
            {
                "i": In(stream.Signature(i, always_ready=True)),
                "o": Out(stream.Signature(shape, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i = self.i.p
        groups = -(-self.rows // NEIGHBOURS)
        near, far = i.row[: ceil_log2(NEIGHBOURS)], i.row[ceil_log2(NEIGHBOURS) :]
        chosen = Signal(data.ArrayLayout(self.o.p.shape(), groups))
        group, valid = Signal.like(far), Signal()
        m.d.sync += [group.eq(far), valid.eq(self.i.valid), self.o.valid.eq(valid)]
        for n in range(groups):
            neighbours = [i.words[r] for r in range(n * NEIGHBOURS, self.rows)[:NEIGHBOURS]]
            with m.Switch(near):
                for place, word in enumerate(neighbours):
                    with m.Case(place):
                        m.d.sync += chosen[n].eq(word)
        m.d.sync += self.o.payload.eq(chosen[group])
        return m
