"""What USB's layers hand each other: packet identifiers, and the signatures between the units."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out, Signature

__all__ = ["LARGEST", "Pid", "head", "in_port", "out_port", "received"]

LARGEST = 64  # bytes of data in a packet


class Pid(enum.IntEnum, shape=unsigned(4)):
    """The packets that a full-speed device minds; the two lower bits tell a packet's kind."""

    OUT = 0x1
    IN = 0x9
    SOF = 0x5
    SETUP = 0xD
    DATA0 = 0x3
    DATA1 = 0xB
    ACK = 0x2
    NAK = 0xA
    STALL = 0xE


#: A packet to be sent: a handshake, or DATA0 or DATA1 with ``length`` bytes.
head = data.StructLayout({"pid": unsigned(4), "length": range(LARGEST + 1)})

#: What a decoder says of packets whose sums are right: strobes, and what holds at them and after.
#: ``data`` strobes at the end of a data packet, good or not; its bytes came before.
received = Signature(
    {
        "token": Out(1),
        "handshake": Out(1),
        "data": Out(1),
        "good": Out(1),
        "pid": Out(4),
        "address": Out(7),
        "endpoint": Out(4),
        "bytes": Out(stream.Signature(8, always_ready=True)),
    }
)

#: Of an endpoint that gives data. At ``poll`` it makes up its mind: from the next cycle on
#: ``ready``, ``stall``, ``toggle``, ``length`` and the first byte, ``data``, hold, and the packet
#: is the same at each poll until it is ``acked``. ``next`` takes a byte.
in_port = Signature(
    {
        "ready": Out(1),
        "stall": Out(1),
        "toggle": Out(1),
        "length": Out(range(LARGEST + 1)),
        "data": Out(8),
        "poll": In(1),
        "next": In(1),
        "acked": In(1),
    }
)

#: Of an endpoint that takes data. ``begin`` comes before a packet: what was written and not
#: ``accepted`` is void. Where the endpoint is ``ready``, or at ``setup``, bytes are written; one
#: packet of the right ``toggle`` is accepted.
out_port = Signature(
    {
        "ready": Out(1),
        "stall": Out(1),
        "toggle": Out(1),
        "begin": In(1),
        "setup": In(1),
        "write": In(1),
        "data": In(8),
        "accepted": In(1),
    }
)
