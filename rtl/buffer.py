"""A register stage for streams that also cuts the way of ``ready``."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Buffer"]


class Buffer(wiring.Component):
    """``o`` offers what ``i`` gave; no signal goes through without a register.

    Latency 1 cycle. Throughput 1 payload per cycle; 2 payloads may wait.

    Parameters
    ----------
    shape : shape-like

    Members
    -------
    i : In(stream of shape)
    o : Out(stream of shape)
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        full = Signal()  # a payload waits behind the one that is offered
        waiting = Signal.like(self.i.payload)
        m.d.comb += self.i.ready.eq(~full)
        with m.If(self.i.ready):
            m.d.sync += waiting.eq(self.i.payload)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                full.eq(0),
                self.o.valid.eq(self.i.valid | full),
                self.o.payload.eq(Mux(full, waiting, self.i.payload)),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += full.eq(1)
        return m
