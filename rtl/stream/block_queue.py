"""A FIFO for long queues, in block RAM."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_range

__all__ = ["BlockQueue"]


class BlockQueue(wiring.Component):
    """Up to ``depth`` payloads, first in, first out.

    Its memory is read a cycle ahead, never where it is written: block RAM of any chip serves, and
    needs nothing around it.

    Latency 2 cycles. Throughput 1 payload per cycle.

    Parameters
    ----------
    shape : shape-like
    depth : int, 2 to 65536

    Members
    -------
    i : In(stream of shape)
    o : Out(stream of shape)

    Raises
    ------
    ValueError
        If ``depth`` is out of range.
    """

    latency = 2

    def __init__(self, shape, depth):
        check_range("depth", depth, 2, 1 << 16)
        self.depth = depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        places = self.depth - 1  # and the payload that is offered
        m.submodules.storage = storage = Memory(
            shape=self.i.p.shape(),
            depth=places,
            init=[],
            attrs={"no_rw_check": 1, "ram_style": "block"},
        )
        write, read = storage.write_port(), storage.read_port(domain="comb")
        first = Signal.like(self.o.payload, reset_less=True)
        stored = Signal(range(places + 1))
        put, fetch = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(stored != places),
            put.eq(self.i.valid & self.i.ready),
            fetch.eq((stored != 0) & (self.o.ready | ~self.o.valid)),
            write.data.eq(self.i.payload),
            write.en.eq(put),
            self.o.payload.eq(first),
        ]
        for moves, address in ((put, write.addr), (fetch, read.addr)):
            with m.If(moves):
                m.d.sync += address.eq(Mux(address == places - 1, 0, address + 1))
        m.d.sync += stored.eq(stored + put - fetch)
        with m.If(fetch):
            m.d.sync += [self.o.valid.eq(1), first.eq(read.data)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
