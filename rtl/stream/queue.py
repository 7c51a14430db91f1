"""A FIFO for short queues whose flags come straight out of registers."""

from amaranth import Cat, Module, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_power_of_two, check_range

__all__ = ["Queue"]

SLICE = 64  # bits of a payload that share addresses


class Queue(wiring.Component):
    """Up to ``depth`` payloads, first in, first out.

    Both flags are registers, and what follows a transfer is one LUT deep: there is a bit for each
    payload instead of a count. The memory is small enough for LUTs.

    Latency 1 cycle. Throughput 1 payload per cycle.

    Parameters
    ----------
    shape : shape-like
    depth : int, a power of two from 2 to 64
    spare : int, 1 to ``depth - 1``

    Members
    -------
    i : In(stream of shape)
    o : Out(stream of shape)
    nearly_full : Out(1)
        There is room for ``spare`` payloads at most.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, shape, depth, spare=1):
        check_power_of_two("depth", depth, 64)
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        check_range("spare", spare, 1, depth - 1)
        self.depth = depth
        self.spare = spare
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "nearly_full": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held = Signal(self.depth)  # bit n: more than n payloads
        put, take = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~held[-1]),
            self.o.valid.eq(held[0]),
            self.nearly_full.eq(held[-1 - self.spare]),
            put.eq(self.i.valid & self.i.ready),
            take.eq(self.o.valid & self.o.ready),
        ]
        i, o = Value.cast(self.i.payload), Value.cast(self.o.payload)
        for low in range(0, len(i), SLICE):
            self._slice(m, low, i[low : low + SLICE], o[low : low + SLICE], put, take)
        # Gates, not conditions: those would become enables, with a LUT of their own.
        stays, grows, shrinks = ~(put ^ take), put & ~take, take & ~put
        for bit, below, above in zip(held, Cat(1, held[:-1]), Cat(held[1:], 0), strict=True):
            m.d.sync += bit.eq((stays & bit) | (grows & below) | (shrinks & above))
        return m

    def _slice(self, m, low, i, o, put, take):
        """A part of all payloads, with addresses of its own: wide ones lie all over a chip."""
        storage = Memory(shape=unsigned(len(i)), depth=self.depth, init=[])
        m.submodules[f"storage_{low}"] = storage
        write, read = storage.write_port(), storage.read_port(domain="comb")
        newest, oldest = (
            Signal(range(self.depth), name=f"copy_{end}_{low}") for end in ("newest", "oldest")
        )
        m.d.comb += [
            write.addr.eq(newest),
            write.data.eq(i),
            write.en.eq(put),
            read.addr.eq(oldest),
            o.eq(read.data),
        ]
        with m.If(put):
            m.d.sync += newest.eq(newest + 1)
        with m.If(take):
            m.d.sync += oldest.eq(oldest + 1)
