"""Stages for streams that cut the way of ``ready``."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Buffer", "Skid"]


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


class Skid(wiring.Component):
    """``o`` offers what ``i`` gives, at once; only ``ready`` goes through a register.

    Latency 0 cycles. Throughput 1 payload per cycle; 1 payload may wait.

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
        full = Signal()  # the payload that is offered was given before
        waiting = Signal.like(self.i.payload)
        m.d.comb += [
            self.i.ready.eq(~full),
            self.o.valid.eq(self.i.valid | full),
            self.o.payload.eq(Mux(full, waiting, self.i.payload)),
        ]
        m.d.sync += full.eq(self.o.valid & ~self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += waiting.eq(self.i.payload)
        return m
