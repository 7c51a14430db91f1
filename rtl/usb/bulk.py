"""The bulk endpoints of a USB device: streams of bytes in packets, and back."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.rtl.usb.packets import LARGEST, in_port, out_port

__all__ = ["BulkIn", "BulkOut"]

ROOM = 2 * LARGEST  # bytes: one packet is filled or emptied while another one is on the line


class BulkOut(wiring.Component):
    """The bytes of a host's packets, each packet once, and none that was not accepted.

    Takes a packet where there is room for the largest one, beside another one that may wait.

    Latency 1 cycle from ``accepted``. Throughput 1 byte per cycle.

    Members
    -------
    port : Out(out_port)
    halted, clear : In(1), In(1)
        The endpoint answers STALL; its next packet is DATA0.
    o : Out(stream of unsigned(8))
    """

    port: Out(out_port)
    halted: In(1)
    clear: In(1)
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=ROOM, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        port, o = self.port, self.o
        written, accepted, taken = (Signal(range(2 * ROOM)) for _ in range(3))
        level = Signal.like(written)
        m.d.comb += [
            level.eq(accepted - taken),
            port.ready.eq((level <= ROOM - LARGEST) & ~self.halted),
            port.stall.eq(self.halted),
            write.en.eq(port.write),
            write.addr.eq(written),
            write.data.eq(port.data),
            read.addr.eq(taken),
            o.valid.eq(level != 0),
            o.payload.eq(read.data),
        ]
        with m.If(port.write):
            m.d.sync += written.eq(written + 1)
        with m.If(port.begin):
            m.d.sync += written.eq(accepted)
        with m.If(port.accepted):
            m.d.sync += [accepted.eq(written), port.toggle.eq(~port.toggle)]
        with m.If(self.clear):
            m.d.sync += port.toggle.eq(0)
        with m.If(o.valid & o.ready):
            m.d.sync += taken.eq(taken + 1)
        return m


class BulkIn(wiring.Component):
    """Bytes in packets to a host: what there is when it asks, up to 64 bytes.

    A packet that the host did not acknowledge is sent again as it was. One without bytes follows
    where one of 64 bytes did and there is no more, so that the host knows. While nobody is
    listening, bytes are taken and dropped, as on a serial line, but for a packet that has been
    sent and not acknowledged.

    Throughput 1 byte per cycle.

    Members
    -------
    i : In(stream of unsigned(8))
    port : Out(in_port)
    halted, clear : In(1), In(1)
        As :class:`BulkOut` has them.
    listening : In(1)
        Somebody reads.
    """

    i: In(stream.Signature(8))
    port: Out(in_port)
    halted: In(1)
    clear: In(1)
    listening: In(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=ROOM, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        port, i = self.port, self.i
        written, sent, acked = (Signal(range(2 * ROOM)) for _ in range(3))
        level, pending, whole = Signal.like(written), Signal(), Signal()
        m.d.comb += [
            level.eq(written - acked),
            i.ready.eq((level != ROOM) | ~self.listening),
            write.en.eq(i.valid & i.ready & self.listening),
            write.addr.eq(written),
            write.data.eq(i.payload),
            read.addr.eq(sent),
            port.ready.eq(pending & ~self.halted),
            port.stall.eq(self.halted),
            port.data.eq(read.data),
        ]
        with m.If(write.en):
            m.d.sync += written.eq(written + 1)
        with m.If(port.poll):
            m.d.sync += sent.eq(acked)
            with m.If(~pending):
                m.d.sync += pending.eq(self.listening & ((level != 0) | whole))
                m.d.sync += port.length.eq(Mux(level < LARGEST, level, LARGEST))
        with m.If(port.next):
            m.d.sync += sent.eq(sent + 1)
        with m.If(port.acked):
            m.d.sync += [acked.eq(sent), pending.eq(0), whole.eq(port.length == LARGEST)]
            m.d.sync += port.toggle.eq(~port.toggle)
        with m.If(self.clear):
            m.d.sync += port.toggle.eq(0)
        with m.If(~self.listening):
            m.d.sync += [written.eq(acked + Mux(pending, port.length, 0)), whole.eq(0)]
        return m
