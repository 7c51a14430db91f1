"""From the bytes of USB packets to tokens, handshakes and data, those whose sums are right."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC5_USB, CRC16_USB
from amaranth.lib.wiring import In, Out
from celosia.rtl.usb.packets import LARGEST, received

__all__ = ["PacketDecoder"]

TOKEN, HANDSHAKE, DATA = 1, 2, 3  # the lower bits of identifiers


class PacketDecoder(wiring.Component):
    """Tokens, handshakes and data of packets whose identifier, length and CRC are right.

    Data bytes are handed on when the two behind them have come, since the last two are the CRC;
    never more than 64 of a packet.

    Latency 1 cycle from ``end``.

    Members
    -------
    i : In(stream of unsigned(8), always ready)
    start, end, error : In(1), In(1), In(1)
        As :class:`celosia.rtl.usb.receiver.UsbReceiver` has them.
    o : Out(received)
    """

    i: In(stream.Signature(8, always_ready=True))
    start: In(1)
    end: In(1)
    error: In(1)
    o: Out(received)

    def elaborate(self, platform):
        m = Module()
        o, i = self.o, self.i
        m.submodules.token_crc = token_crc = CRC5_USB(8).create()
        m.submodules.data_crc = data_crc = CRC16_USB(8).create()
        most = 1 + LARGEST + 2
        count, known = Signal(range(most + 2)), Signal()
        latest, older = Signal(8), Signal(8)
        for crc in (token_crc, data_crc):
            m.d.comb += [crc.start.eq(self.start), crc.data.eq(i.payload)]
            m.d.comb += crc.valid.eq(i.valid & (count != 0))
        with m.If(i.valid):
            m.d.sync += count.eq(count + (count != most + 1))
            with m.If(count == 0):
                m.d.sync += [o.pid.eq(i.payload[:4]), known.eq(i.payload[:4] == ~i.payload[4:])]
            m.d.sync += [latest.eq(i.payload), older.eq(latest)]
        with m.If(self.start):
            m.d.sync += count.eq(0)
        m.d.comb += [
            o.bytes.valid.eq(i.valid & (o.pid[:2] == DATA) & (count >= 3) & (count < most)),
            o.bytes.payload.eq(older),
        ]
        kind, right = o.pid[:2], Signal()
        m.d.comb += right.eq(self.end & known & ~self.error)
        m.d.sync += [
            o.token.eq(right & (kind == TOKEN) & (count == 3) & token_crc.match_detected),
            o.handshake.eq(right & (kind == HANDSHAKE) & (count == 1)),
            o.data.eq(self.end & (kind == DATA)),
            o.good.eq(right & (count >= 3) & (count <= most) & data_crc.match_detected),
        ]
        with m.If(self.end):
            m.d.sync += Cat(o.address, o.endpoint).eq(Cat(older, latest))
        return m
