"""The receiver of a full-speed USB line: from two wires to the bytes of packets."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["RESET", "UsbReceiver"]

RESET = 120  # cycles of both lines low, 2.5 us, that are a reset


class UsbReceiver(wiring.Component):
    """Bytes of packets from a line of 12 Mbit/s, at a clock of 48 MHz.

    A bit is looked at in its second quarter, counted from the line's last change: changes may be
    two cycles early or one late, and clocks may differ by 5,000 ppm (0.14 cycles in the seven
    bits that bit stuffing leaves without a change). Both lines low for one cycle is a change under
    way, for two the end of a packet. A packet begins with five zeros and a one, the end of its
    SYNC. One bit more than whole bytes is let pass, since hubs make such; more are an error, and
    so are seven ones. Where a line shows eight, it idles, and the packet is over without an end.

    Latency 5 cycles from the begin of a byte's last bit to the byte.

    Members
    -------
    dp, dn : In(1), In(1)
        The lines; need not be synchronous.
    quiet : In(1)
        What is on the lines is the device's own.
    o : Out(stream of unsigned(8), always ready)
        The packet's bytes, its identifier first.
    start, end : Out(1), Out(1)
        Strobes: SYNC is over; the lines idle again after both were low.
    active : Out(1)
        Between these.
    error : Out(1)
        At ``end``: the packet is none.
    reset : Out(1)
        Both lines have been low for 2.5 us, and still are.
    """

    dp: In(1, init=1)
    dn: In(1)
    quiet: In(1)
    o: Out(stream.Signature(8, always_ready=True))
    start: Out(1)
    end: Out(1)
    active: Out(1)
    error: Out(1)
    reset: Out(1)

    def elaborate(self, platform):
        m = Module()
        plus, minus = Signal(init=1), Signal()
        m.submodules.plus = FFSynchronizer(self.dp, plus, init=1)
        m.submodules.minus = FFSynchronizer(self.dn, minus, init=0)

        level, low, ended = Signal(init=1), Signal(), Signal()
        phase, lows = Signal(2), Signal(range(RESET + 1))
        differ = plus ^ minus
        m.d.sync += [
            low.eq(~(plus | minus)),
            ended.eq(low & ~(plus | minus)),
            phase.eq(phase + 1),
            lows.eq(Mux(low, lows + ~self.reset, 0)),
        ]
        m.d.comb += self.reset.eq(lows == RESET)
        with m.If(differ & (plus != level)):
            m.d.sync += [level.eq(plus), phase.eq(0)]

        tick, bit = Signal(), Signal()
        before, history, ones = Signal(init=1), Signal(5, init=-1), Signal(3)
        m.d.comb += [tick.eq((phase == 1) & ~low), bit.eq(level == before)]
        with m.If(tick):
            m.d.sync += [
                before.eq(level),
                history.eq(Cat(bit, history)),
                ones.eq(Mux(bit, ones + (ones != 7), 0)),
            ]

        bits, count, wrong = Signal(8), Signal(3), Signal()
        ending = Signal()
        m.d.sync += [self.o.valid.eq(0), self.start.eq(0), self.end.eq(0)]
        with m.If(tick & self.active):
            with m.If(ones != 6):  # what follows six ones is no bit of the packet
                m.d.sync += [bits.eq(Cat(bits[1:], bit)), count.eq(count + 1)]
                m.d.sync += [self.o.valid.eq(count == 7), self.o.payload.eq(Cat(bits[1:], bit))]
            with m.Elif(bit):
                m.d.sync += wrong.eq(1)
            with m.If(bit & (ones == 7)):
                m.d.sync += self.active.eq(0)
        with m.If(tick & ~self.active & bit & (history == 0)):
            m.d.sync += [self.start.eq(1), self.active.eq(1), count.eq(0), wrong.eq(0)]
        with m.If(self.active & ended):
            m.d.sync += ending.eq(1)
        with m.If(ending & differ):
            m.d.sync += [self.end.eq(1), self.active.eq(0), ending.eq(0)]
            m.d.sync += self.error.eq(wrong | (count > 1))
        with m.If(ended | self.quiet):
            m.d.sync += [before.eq(1), history.eq(-1), ones.eq(0)]
        with m.If(self.quiet | self.reset):
            m.d.sync += [self.active.eq(0), ending.eq(0)]
        return m
