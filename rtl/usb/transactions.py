"""USB's transactions: a token, data, a handshake, between the packets and a device's endpoints."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, PureInterface
from celosia.rtl.usb.packets import Pid, head, in_port, out_port, received

__all__ = ["UsbTransactions"]

TURNAROUND = 6  # cycles from the end of a packet: 3 bits on the line, with all that is in between
DATA = 3  # the lower bits of DATA0 and DATA1
PATIENCE = 104  # cycles from the end of a packet to the SYNC behind the next one: 18 + 8 bits


class UsbTransactions(wiring.Component):
    """The device's part in transactions: what is asked of its address, its endpoints answer.

    IN: the endpoint's packet, until the host has acknowledged it; NAK where it has none. OUT: ACK
    where the endpoint takes the packet; ACK, too, where the packet's toggle says that it was taken
    before and the host missed that; else NAK. STALL where the endpoint says so. SETUP: ACK. What
    is damaged gets no answer, nor do endpoints that there are not. An answer begins 3 bits after
    the packet's end, between the 2 and 6.5 of the standard. An answer of the host is waited for as
    long as the standard allows, 18 bits.

    Parameters
    ----------
    in_numbers, out_numbers : tuple of int
        Of the endpoints; SETUP goes to endpoint 0.

    Members
    -------
    packets : In(received)
    active, end : In(1), In(1)
        Of the receiver: a packet comes; it is over.
    address : In(7)
        The device's.
    i, data, next, done : Out(stream of head), Out(8), In(1), In(1)
        To the transmitter.
    ins, outs : In(in_port).array(), In(out_port).array()
        The endpoints, in the order of their numbers.
    """

    def __init__(self, in_numbers, out_numbers):
        self.in_numbers = in_numbers
        self.out_numbers = out_numbers
        super().__init__(
            {
                "packets": In(received),
                "active": In(1),
                "end": In(1),
                "address": In(7),
                "o": Out(stream.Signature(head)),
                "data": Out(8),
                "next": In(1),
                "done": In(1),
                "ins": In(in_port).array(len(in_numbers)),
                "outs": In(out_port).array(len(out_numbers)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        packets = self.packets
        number, is_setup = Signal(4), Signal()
        source, sink = PureInterface(in_port.flip()), PureInterface(out_port.flip())
        self._choose(m, number, self.in_numbers, self.ins, source)
        self._choose(m, number, self.out_numbers, self.outs, sink)
        m.d.comb += [
            self.data.eq(source.data),
            source.next.eq(self.next),
            sink.data.eq(packets.bytes.payload),
            sink.setup.eq(is_setup),
        ]
        since = Signal(range(PATIENCE + 1))  # cycles since a packet's end
        with m.If(self.active | self.end | self.done):
            m.d.sync += since.eq(0)
        with m.Elif(since != PATIENCE):
            m.d.sync += since.eq(since + 1)
        gives, takes = Signal(), Signal()
        self._addressed(m, gives, takes)

        def listen():
            """A token may come, here and wherever the host should say something else."""
            with m.If(since == PATIENCE):
                m.next = "IDLE"
            with m.If(packets.token):
                m.d.sync += [number.eq(packets.endpoint), is_setup.eq(packets.pid == Pid.SETUP)]
                m.next = "IDLE"
                with m.If(gives):
                    m.next = "POLL"
                with m.If(takes):
                    m.next = "BEGIN"

        def answer(pid, length=0):
            m.d.sync += [self.o.p.pid.eq(pid), self.o.p.length.eq(length)]
            m.next = "ANSWER"

        with m.FSM():
            with m.State("IDLE"):
                listen()
            self._give(m, source, listen, answer)
            self._take(m, sink, is_setup, listen, answer)
            with m.State("ANSWER"):
                m.d.comb += self.o.valid.eq(since >= TURNAROUND)
                with m.If(self.o.valid & self.o.ready):
                    m.next = "SEND"
            with m.State("SEND"), m.If(self.done):
                m.next = "IDLE"
                with m.If(self.o.p.pid[:2] == DATA):
                    m.next = "CONFIRM"
        return m

    def _addressed(self, m, gives, takes):
        """Whether a token is for an endpoint of this device that gives, or takes."""
        packets = self.packets
        asked, mine = packets.endpoint, packets.address == self.address
        with m.Switch(packets.pid):
            with m.Case(Pid.IN):
                m.d.comb += gives.eq(mine & _among(asked, self.in_numbers))
            with m.Case(Pid.OUT):
                m.d.comb += takes.eq(mine & _among(asked, self.out_numbers))
            with m.Case(Pid.SETUP):
                m.d.comb += takes.eq(mine & (asked == 0))

    def _give(self, m, source, listen, answer):
        """The states of IN."""
        with m.State("POLL"):
            m.d.comb += source.poll.eq(1)
            m.next = "GIVE"
        with m.State("GIVE"):
            answer(Pid.NAK)
            with m.If(source.ready):
                answer(_data(source.toggle), source.length)
            with m.If(source.stall):
                answer(Pid.STALL)
        with m.State("CONFIRM"):
            listen()
            with m.If(self.packets.handshake):
                m.d.comb += source.acked.eq(self.packets.pid == Pid.ACK)
                m.next = "IDLE"

    def _take(self, m, sink, is_setup, listen, answer):
        """The states of OUT and SETUP."""
        packets, taking = self.packets, Signal()
        with m.State("BEGIN"):
            m.d.comb += sink.begin.eq(1)
            m.d.sync += taking.eq(sink.ready | is_setup)
            m.next = "TAKE"
        with m.State("TAKE"):
            m.d.comb += sink.write.eq(packets.bytes.valid & taking)
            listen()
            with m.If(packets.data):
                m.next = "IDLE"
            with m.If(packets.data & packets.good):
                with m.If(is_setup), m.If(packets.pid == Pid.DATA0):
                    m.d.comb += sink.accepted.eq(1)
                    answer(Pid.ACK)
                with m.Elif(sink.stall):
                    answer(Pid.STALL)
                with m.Elif(packets.pid != _data(sink.toggle)):
                    answer(Pid.ACK)  # it was taken before
                with m.Elif(taking):
                    m.d.comb += sink.accepted.eq(1)
                    answer(Pid.ACK)
                with m.Else():
                    answer(Pid.NAK)

    def _choose(self, m, number, numbers, ports, chosen):
        """``chosen`` is the one of ``ports`` whose number is ``number``."""
        with m.Switch(number):
            for own, port in zip(numbers, ports, strict=True):
                with m.Case(own):
                    for name, member in chosen.signature.members.items():
                        ours, theirs = getattr(chosen, name), getattr(port, name)
                        gives = member.flow == In
                        m.d.comb += ours.eq(theirs) if gives else theirs.eq(ours)


def _among(number, numbers):
    return Cat(number == each for each in numbers).any()


def _data(toggle):
    """DATA0 or DATA1, which differ in their highest bit."""
    return Pid.DATA0.value | (toggle << 3)
