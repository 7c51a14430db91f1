"""Several streams into one."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Merge"]


class Merge(wiring.Component):
    """Whichever of the inputs ``i`` offers a payload goes to ``o``; among several, the first.

    An offer once made stays until it is taken, whatever else arrives. Latency 0 cycles.
    Throughput 1 payload per cycle.

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
        held = Signal()  # an offer is waiting
        holder = Signal(range(self.n))
        chosen = Signal(range(self.n))
        for number in reversed(range(self.n)):
            with m.If(self.i[number].valid):
                m.d.comb += chosen.eq(number)
        with m.If(held):
            m.d.comb += chosen.eq(holder)
        with m.Switch(chosen):
            for number, i in enumerate(self.i):
                with m.Case(number):
                    m.d.comb += [
                        self.o.valid.eq(i.valid),
                        self.o.payload.eq(i.payload),
                        i.ready.eq(self.o.ready),
                    ]
        m.d.sync += [held.eq(self.o.valid & ~self.o.ready), holder.eq(chosen)]
        return m
