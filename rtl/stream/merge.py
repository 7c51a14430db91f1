"""Several streams into one."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Merge"]


class Merge(wiring.Component):
    """Whichever of the inputs ``i`` offers a payload goes to ``o``; among several, the first.

    Latency 1 cycle. Throughput 1 payload per cycle.

    Parameters
    ----------
    shape : shape-like
    n : int, at least 1

    Members
    -------
    i : In(stream of shape), n times
    o : Out(stream of shape)

    Raises
    ------
    ValueError
        If ``n`` is less than 1.
    """

    def __init__(self, shape, n):
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n!r}")
        self.n = n
        super().__init__(
            {"i": In(stream.Signature(shape)).array(n), "o": Out(stream.Signature(shape))}
        )

    def elaborate(self, platform):
        m = Module()
        free = Signal()
        m.d.comb += free.eq(self.o.ready | ~self.o.valid)
        with m.If(free):
            m.d.sync += self.o.valid.eq(0)
        earlier = 0  # whether an input before this one offers a payload
        for i in self.i:
            taken = Signal(name="taken")
            m.d.comb += [i.ready.eq(free & ~earlier), taken.eq(i.valid & i.ready)]
            with m.If(taken):
                m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(i.payload)]
            earlier = earlier | i.valid
        return m
