"""The transmitter of a full-speed USB line: from a packet's bytes to two wires."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC16_USB
from amaranth.lib.wiring import In, Out
from celosia.rtl.usb.packets import head

__all__ = ["UsbTransmitter"]

SYNC = 0x80


class UsbTransmitter(wiring.Component):
    """Packets onto a line of 12 Mbit/s, at a clock of 48 MHz: a bit takes 4 cycles.

    SYNC, the identifier and its complement, of a data packet its bytes and their CRC-16, all with
    bits stuffed, then both lines low for two bits and idle for one.

    Latency 2 cycles to the line's first change. A packet takes ``4 * (19 + stuffed)`` cycles, a
    data packet ``4 * (35 + 8 * length + stuffed)``, and two more between packets.

    Members
    -------
    i : In(stream of head)
        ``{pid, length}``; ``length`` counts for DATA0 and DATA1 alone.
    data, next : In(8), Out(1)
        The byte at hand; it was taken, and the next one is expected 2 cycles later.
    done : Out(1)
        Strobe: the line has been released.
    dp, dn, oe : Out(1), Out(1), Out(1)
        The lines, and whether they are driven.
    """

    i: In(stream.Signature(head))
    data: In(8)
    next: Out(1)
    done: Out(1)
    dp: Out(1, init=1)
    dn: Out(1)
    oe: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC16_USB(8).create()
        pid, length = Signal(4), Signal.like(self.i.p.length)
        bits, left, ones, phase = Signal(8), Signal(4), Signal(3), Signal(2)
        level, tick, load = Signal(init=1), Signal(), Signal()
        m.d.sync += phase.eq(phase + 1)
        m.d.comb += [
            tick.eq(phase == 3),
            load.eq((phase == 1) & (left == 0)),
            crc.data.eq(self.data),
            crc.valid.eq(self.next),
        ]

        def byte(value):
            m.d.sync += [bits.eq(value), left.eq(8)]

        def send():
            """At a tick the next bit, or a stuffed one, goes onto the line."""
            flip = Signal()
            m.d.comb += flip.eq((ones == 6) | ~bits[0])
            with m.If(tick & ((ones == 6) | (left != 0))):
                m.d.sync += [level.eq(level ^ flip), ones.eq(Mux(flip, 0, ones + 1)), self.oe.eq(1)]
                m.d.sync += [self.dp.eq(level ^ flip), self.dn.eq(~(level ^ flip))]
                with m.If(ones != 6):
                    m.d.sync += [bits.eq(bits[1:]), left.eq(left - 1)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.i.ready.eq(1), crc.start.eq(1)]
                m.d.sync += [pid.eq(self.i.p.pid), length.eq(self.i.p.length)]
                m.d.sync += [level.eq(1), ones.eq(0), phase.eq(3)]
                byte(SYNC)
                with m.If(self.i.valid):
                    m.next = "SYNC"
            with m.State("SYNC"):
                send()
                with m.If(load):
                    byte(Cat(pid, ~pid))
                    m.next = "LAST"
                    with m.If(pid[:2] == 3):
                        m.next = "DATA"
            with m.State("DATA"):
                send()
                with m.If(load):
                    with m.If(length != 0):
                        byte(self.data)
                        m.d.comb += self.next.eq(1)
                        m.d.sync += length.eq(length - 1)
                    with m.Else():
                        byte(crc.crc[:8])
                        m.next = "CRC"
            with m.State("CRC"):
                send()
                with m.If(load):
                    byte(crc.crc[8:])
                    m.next = "LAST"
            with m.State("LAST"):
                send()
                with m.If(tick & (left == 0) & (ones != 6)):
                    m.d.sync += [self.dp.eq(0), self.dn.eq(0)]
                    m.next = "LOW"
            with m.State("LOW"), m.If(tick):
                m.next = "LOWER"
            with m.State("LOWER"), m.If(tick):
                m.d.sync += self.dp.eq(1)
                m.next = "RELEASE"
            with m.State("RELEASE"), m.If(tick):
                m.d.sync += self.oe.eq(0)
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"
        return m
