"""A USB device that is a serial port (CDC-ACM): from the lines of the bus to streams of bytes."""

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, Signature, connect, flipped
from celosia.rtl.stream.checks import check_range
from celosia.rtl.usb.bulk import BulkIn, BulkOut
from celosia.rtl.usb.control import ControlEndpoint
from celosia.rtl.usb.decoder import PacketDecoder
from celosia.rtl.usb.descriptors import BULK, NOTIFY
from celosia.rtl.usb.receiver import UsbReceiver
from celosia.rtl.usb.transactions import UsbTransactions
from celosia.rtl.usb.transmitter import UsbTransmitter

__all__ = ["ATTACH", "UsbDevice", "usb_pins"]

ATTACH = 1 << 19  # cycles, 11 ms, after which a host has seen that the device before is gone


def usb_pins():
    """The device's side of a bus: ``dp_i, dn_i``; ``dp_o, dn_o, oe``; ``pullup`` of the D+ line."""
    return Signature(
        {
            "dp_i": In(1, init=1),
            "dn_i": In(1),
            "dp_o": Out(1, init=1),
            "dn_o": Out(1),
            "oe": Out(1),
            "pullup": Out(1),
        }
    )


class UsbDevice(wiring.Component):
    """Bytes from and to a host over full-speed USB; for the host a serial port.

    The clock is 48 MHz, within 2,500 ppm. Bytes come and go in packets of up to 64 (bulk endpoint
    2, both ways); the notifying endpoint 1 has nothing to say. The bytes that nobody takes make
    the host wait. Bytes that come while no program of the host has opened the port are dropped,
    as on a serial line. A reset of the bus ends what is under way; bytes of accepted packets stay.

    Throughput: a packet of 64 bytes in about 640 bits of the bus, 1.2 MB/s.

    Parameters
    ----------
    attach : int, 1 to 2**24
        Cycles after which the device shows itself on the bus.

    Members
    -------
    pins : Out(usb_pins)
        What comes in need not be synchronous.
    i, o : In(stream of unsigned(8)), Out(stream of unsigned(8))
        To the host, from the host.

    Raises
    ------
    ValueError
        If ``attach`` is out of range.
    """

    pins: Out(usb_pins())
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, attach=ATTACH):
        check_range("attach", attach, 1, 1 << 24)
        self.attach = attach
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        pins, reset = self.pins, Signal()
        m.submodules.receiver = receiver = UsbReceiver()
        decoder, transmitter = PacketDecoder(), UsbTransmitter()
        transactions = UsbTransactions((0, NOTIFY, BULK), (0, BULK))
        control, bulk_in, bulk_out = ControlEndpoint(), BulkIn(), BulkOut()
        m.submodules.bulk_out = bulk_out
        for name, unit in (
            ("decoder", decoder),
            ("transmitter", transmitter),
            ("transactions", transactions),
            ("control", control),
            ("bulk_in", bulk_in),
        ):
            m.submodules[name] = ResetInserter(reset)(unit)

        left = Signal(range(self.attach), init=self.attach - 1)
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += pins.pullup.eq(1)
        m.d.comb += [
            reset.eq(receiver.reset),
            receiver.dp.eq(pins.dp_i),
            receiver.dn.eq(pins.dn_i),
            receiver.quiet.eq(transmitter.oe),
            pins.dp_o.eq(transmitter.dp),
            pins.dn_o.eq(transmitter.dn),
            pins.oe.eq(transmitter.oe),
            decoder.start.eq(receiver.start),
            decoder.end.eq(receiver.end),
            decoder.error.eq(receiver.error),
            transactions.active.eq(receiver.active),
            transactions.end.eq(receiver.end),
            transactions.address.eq(control.address),
            transactions.next.eq(transmitter.next),
            transactions.done.eq(transmitter.done),
            transmitter.data.eq(transactions.data),
            bulk_in.listening.eq(control.listening),
            bulk_in.halted.eq(control.in_halted),
            bulk_in.clear.eq(control.in_clear),
            bulk_out.halted.eq(control.out_halted),
            bulk_out.clear.eq(control.out_clear | reset),
        ]
        connect(m, receiver.o, decoder.i)
        connect(m, decoder.o, transactions.packets)
        connect(m, transactions.o, transmitter.i)
        connect(m, control.ins, transactions.ins[0])
        connect(m, bulk_in.port, transactions.ins[2])
        connect(m, control.outs, transactions.outs[0])
        connect(m, bulk_out.port, transactions.outs[1])
        connect(m, flipped(self.i), bulk_in.i)
        connect(m, bulk_out.o, flipped(self.o))
        return m
