"""The layers of USB alone: what the transmitter puts on the line, the receiver takes from it."""

import itertools

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.usb.packets import Pid, head
from celosia.rtl.usb.receiver import UsbReceiver
from celosia.rtl.usb.transmitter import UsbTransmitter
from celosia.sim import bench
from usb_line import packet, states

HANDSHAKES = ("ACK", "NAK", "STALL")


class Loop(wiring.Component):
    """A transmitter wired to a receiver; all bytes of data are ``data``."""

    i: In(stream.Signature(head))
    data: In(8)
    o: Out(stream.Signature(8, always_ready=True))
    errors: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.transmitter = transmitter = UsbTransmitter()
        m.submodules.receiver = receiver = UsbReceiver()
        connect(m, flipped(self.i), transmitter.i)
        connect(m, receiver.o, flipped(self.o))
        m.d.comb += [
            transmitter.data.eq(self.data),
            receiver.dp.eq(transmitter.dp),
            receiver.dn.eq(transmitter.dn),
        ]
        with m.If(receiver.end & receiver.error):
            m.d.sync += self.errors.eq(self.errors + 1)
        return m


def bits(name, length, byte):
    """How many bits a packet takes on the line."""
    return len(states(packet(name, bytes([byte]) * length)))


@pytest.mark.parametrize("stall", [0.0, 0.99])
@pytest.mark.parametrize("byte", [0xFF, 0x00, 0x7E])
def test_what_is_sent_is_received(byte, stall):
    sent = [(name, 0) for name in HANDSHAKES]
    sent += [("DATA0", 0), ("DATA1", 1), ("DATA0", 64), ("DATA1", 63), ("ACK", 0)]
    heads = [{"pid": Pid[name].value, "length": length} for name, length in sent]
    texts = [packet(name, bytes([byte]) * length) for name, length in sent]
    expected = b"".join(texts)
    found = bench.run(
        Loop(), {"i": heads}, len(expected), settings={"data": byte}, stall=stall, after=40
    )
    assert bytes(found.outputs["o"]) == expected
    assert found.signals["errors"] == 0
    if not stall:  # four cycles a bit, and two between packets
        taken = found.stream_cycles["i"]
        times = [b - a for a, b in itertools.pairwise(taken)]
        assert times == [4 * bits(*each, byte) + 2 for each in sent[:-1]]
        begin = taken[0] + 2
        assert found.first_cycle["o"] == begin + 4 * 15 + 5
