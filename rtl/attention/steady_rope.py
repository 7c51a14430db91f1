"""A rotation that never stalls: its words wait in front of it, and in a queue behind it."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.attention.rope import Rope
from celosia.rtl.stream.queue import Queue

__all__ = ["SteadyRope"]

DEPTH = 8


class SteadyRope(wiring.Component):
    """:class:`celosia.rtl.attention.rope.Rope`, whose stages always advance.

    A word enters where the queue behind it has room for all that are on their way, so that no
    ``ready`` crosses the stages.

    Latency 5 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    rope : Rope

    Members
    -------
    i, positions, o
        The rotation's.
    """

    latency = Rope.latency + 1

    def __init__(self, rope):
        self._rope = rope
        members = rope.signature.members
        super().__init__(
            {
                "i": In(stream.Signature(rope.i.p.shape())),
                "positions": members["positions"],
                "o": Out(stream.Signature(rope.o.p.shape())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.rope = rope = self._rope
        m.submodules.turned = turned = Queue(rope.o.p.shape(), DEPTH, spare=Rope.latency)
        connect(m, flipped(self.positions), rope.positions)
        connect(m, turned.o, flipped(self.o))
        moves = ~turned.nearly_full
        m.d.comb += [
            rope.i.payload.eq(self.i.payload),
            rope.i.valid.eq(self.i.valid & moves),
            self.i.ready.eq(rope.i.ready & moves),
            turned.i.valid.eq(rope.o.valid),
            turned.i.payload.eq(rope.o.p),
            rope.o.ready.eq(1),
        ]
        return m
