"""Frames on a byte stream, in hardware: receiver and transmitter."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.protocol.frames import CRC, SYNC

__all__ = ["Fault", "FrameReceiver", "FrameTransmitter", "header", "verdict"]


class Fault(enum.Enum, shape=unsigned(2)):
    """What was wrong with a received frame; the numbers of ``refusals.Code``."""

    NONE = 0
    CRC = 1
    TRUNCATED = 2


header = data.StructLayout({"kind": unsigned(8), "length": unsigned(8)})
verdict = data.StructLayout({"kind": unsigned(8), "length": unsigned(8), "fault": Fault})


class FrameReceiver(wiring.Component):
    """Finds frames among bytes: the hardware's :class:`celosia.protocol.frames.FrameDecoder`.

    Payload bytes are handed on as they come, before their CRC is known; at the frame's end one
    verdict tells whether they were right. Unlike the decoder in Python, it goes on with the byte
    behind a damaged frame. A frame in whose middle no byte comes for `timeout` cycles is
    given up, with a verdict.

    A payload byte is handed on in the cycle in which it comes; the verdict is offered 1 cycle
    after the last byte. Throughput 1 byte per cycle within a frame; no byte is taken while the
    verdict waits.

    Parameters
    ----------
    timeout : int, 1 to 2**32 - 1
        In cycles.

    Members
    -------
    i : In(stream of unsigned(8))
    data : Out(stream of unsigned(8), always ready)
        Payload bytes.
    frame : Out(stream of verdict)
        ``{kind, length, fault}``, in which fault is a :class:`Fault`. After TRUNCATED, kind and
        length may be those of no frame, and kind is 0 if it did not come.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    i: In(stream.Signature(8))
    data: Out(stream.Signature(8, always_ready=True))
    frame: Out(stream.Signature(verdict))

    def __init__(self, timeout):
        if timeout not in range(1, 2**32):
            raise ValueError(f"timeout must be from 1 to 2**32 - 1, not {timeout!r}")
        self.timeout = timeout
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC.create()
        found = self.frame.p
        kind = Signal(8)
        length = Signal(8)
        left = Signal(8)
        truncated = Signal()
        idle = Signal(range(self.timeout))
        take = Signal()
        m.d.comb += [
            take.eq(self.i.valid & self.i.ready),
            self.data.payload.eq(self.i.payload),
            crc.data.eq(self.i.payload),
            crc.valid.eq(take),
            found.kind.eq(kind),
            found.length.eq(length),
        ]
        with m.If(truncated):
            m.d.comb += found.fault.eq(Fault.TRUNCATED)
        with m.Elif(~crc.match_detected):
            m.d.comb += found.fault.eq(Fault.CRC)

        def byte(state):
            """In this state a byte of a frame is awaited, and the next state is `state`."""
            m.d.comb += self.i.ready.eq(1)
            with m.If(take):
                m.d.sync += idle.eq(0)
                m.next = state
            with m.Elif(idle == self.timeout - 1):
                m.d.sync += truncated.eq(1)
                m.next = "VERDICT"
            with m.Else():
                m.d.sync += idle.eq(idle + 1)
            return m.If(take)

        with m.FSM():
            with m.State("HUNT"):
                m.d.comb += [self.i.ready.eq(1), crc.valid.eq(0), crc.start.eq(1)]
                m.d.sync += [truncated.eq(0), idle.eq(0), kind.eq(0), length.eq(0)]
                with m.If(take & (self.i.payload == SYNC)):
                    m.next = "KIND"
            with m.State("KIND"), byte("LENGTH"):
                m.d.sync += kind.eq(self.i.payload)
            with m.State("LENGTH"), byte("PAYLOAD"):
                m.d.sync += [length.eq(self.i.payload), left.eq(self.i.payload)]
                with m.If(self.i.payload == 0):
                    m.next = "CRC"
            with m.State("PAYLOAD"), byte("PAYLOAD"):
                m.d.comb += self.data.valid.eq(1)
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    m.next = "CRC"
            with m.State("CRC"), byte("CRC END"):
                pass
            with m.State("CRC END"), byte("VERDICT"):
                pass
            with m.State("VERDICT"):
                m.d.comb += self.frame.valid.eq(1)
                with m.If(self.frame.ready):
                    m.next = "HUNT"
        return m


class FrameTransmitter(wiring.Component):
    """Sends a payload as a frame: ``sync, kind, length, payload, CRC``.

    Bit-exact with :func:`celosia.protocol.frames.frame`. Latency 0: the sync byte is offered in the
    cycle in which the header is. Throughput 1 byte per cycle, without a gap between frames.

    Members
    -------
    frame : In(stream of header)
        ``{kind, length}``; taken with the length.
    data : In(stream of unsigned(8))
        ``length`` bytes of payload.
    o : Out(stream of unsigned(8))
    """

    frame: In(stream.Signature(header))
    data: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC.create()
        left = Signal(8)
        sent = Signal()
        m.d.comb += [sent.eq(self.o.valid & self.o.ready), crc.data.eq(self.o.payload)]
        with m.FSM():
            with m.State("SYNC"):
                m.d.comb += [self.o.valid.eq(self.frame.valid), self.o.payload.eq(SYNC)]
                m.d.comb += crc.start.eq(1)
                with m.If(sent):
                    m.next = "KIND"
            with m.State("KIND"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(self.frame.p.kind)]
                m.d.comb += crc.valid.eq(sent)
                with m.If(sent):
                    m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(self.frame.p.length)]
                m.d.comb += [crc.valid.eq(sent), self.frame.ready.eq(sent)]
                m.d.sync += left.eq(self.frame.p.length)
                with m.If(sent):
                    m.next = "DATA"
                    with m.If(self.frame.p.length == 0):
                        m.next = "CRC"
            with m.State("DATA"):
                m.d.comb += [self.o.valid.eq(self.data.valid), self.o.payload.eq(self.data.payload)]
                m.d.comb += [crc.valid.eq(sent), self.data.ready.eq(self.o.ready)]
                with m.If(sent):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(crc.crc[:8])]
                with m.If(sent):
                    m.next = "CRC END"
            with m.State("CRC END"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(crc.crc[8:])]
                with m.If(sent):
                    m.next = "SYNC"
        return m
