"""A USB serial port with something behind it: an echo, or a source and a count of what comes."""

from amaranth.hdl import ClockDomain, Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out, connect
from celosia.rtl.usb.usb_serial import UsbSerial

__all__ = ["Stand", "digest", "source_bytes"]

TAPS, SEED = 0xB400, 0xACE1


class Stand(wiring.Component):
    """A serial port on a bus of two wires, its streams stalled at random in ``stall`` of 256."""

    usb_clk: In(1)
    host_dp: In(1, init=1)
    host_dn: In(1)
    bus: Out(2)  # D+ and D-
    driven: Out(1)
    attached: Out(1)
    echo: In(1)
    go: In(1)  # the source gives
    stall: In(8)
    count: Out(32)
    digest: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.domains.usb = usb = ClockDomain(reset_less=True)
        m.submodules.serial = serial = UsbSerial(attach=20)
        m.submodules.queue = queue = fifo.SyncFIFO(width=8, depth=4)
        pins = serial.pins
        m.d.comb += [
            usb.clk.eq(self.usb_clk),
            self.bus[0].eq(Mux(pins.oe, pins.dp_o, self.host_dp)),
            self.bus[1].eq(Mux(pins.oe, pins.dn_o, self.host_dn)),
            pins.dp_i.eq(self.bus[0]),
            pins.dn_i.eq(self.bus[1]),
            self.driven.eq(pins.oe),
            self.attached.eq(pins.pullup),
        ]
        chance, source = Signal(16, init=SEED), Signal(16, init=SEED)
        m.d.sync += chance.eq(_next(chance))
        takes, gives = chance[:8] >= self.stall, chance[8:] >= self.stall
        offer = Signal()
        with m.If(serial.o.valid & serial.o.ready):
            m.d.sync += self.count.eq(self.count + 1)
            m.d.sync += self.digest.eq(33 * self.digest + serial.o.payload)
        with m.If(self.echo):
            m.d.comb += [
                queue.w_data.eq(serial.o.payload),
                queue.w_en.eq(serial.o.valid & takes),
                serial.o.ready.eq(queue.w_rdy & takes),
            ]
            connect(m, queue.r_stream, serial.i)
        with m.Else():
            m.d.comb += [
                serial.o.ready.eq(takes),
                serial.i.valid.eq(offer),
                serial.i.payload.eq(source),
            ]
            with m.If(serial.i.ready | ~offer):
                m.d.sync += offer.eq(self.go & gives)
            with m.If(serial.i.ready & offer):
                m.d.sync += source.eq(_next(source))
        return m


def _next(value):
    return (value >> 1) ^ Mux(value[0], TAPS, 0)


def source_bytes(count):
    """What the source gives first."""
    value, found = SEED, bytearray()
    for _ in range(count):
        found.append(value & 255)
        value = (value >> 1) ^ (TAPS if value & 1 else 0)
    return bytes(found)


def digest(data):
    """What stands in ``digest`` after these bytes."""
    found = 0
    for byte in data:
        found = (33 * found + byte) % (1 << 32)
    return found
