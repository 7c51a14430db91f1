"""A USB serial port for a machine of another clock."""

from amaranth.hdl import DomainRenamer, Module
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.usb.device import ATTACH, UsbDevice, usb_pins

__all__ = ["UsbSerial"]

DEPTH = 16  # bytes on their way between the clocks, which take some cycles to tell each other


class UsbSerial(wiring.Component):
    """Bytes from and to a host over USB: :class:`UsbDevice` in the domain ``usb``, of 48 MHz.

    The streams belong to the domain ``sync``, of any clock above 5 MHz; asynchronous queues of 16
    bytes lie between. Where the domain ``usb`` comes from is the board's matter.

    Parameters
    ----------
    attach : int
        As of :class:`UsbDevice`.

    Members
    -------
    pins : Out(usb_pins)
        In the domain ``usb``.
    i, o : In(stream of unsigned(8)), Out(stream of unsigned(8))
        To the host, from the host.
    """

    pins: Out(usb_pins())
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, attach=ATTACH):
        self.device = UsbDevice(attach)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        device = self.device
        m.submodules.device = DomainRenamer("usb")(device)
        sizes = {"width": 8, "depth": DEPTH}
        m.submodules.going = going = AsyncFIFO(**sizes, w_domain="sync", r_domain="usb")
        m.submodules.coming = coming = AsyncFIFO(**sizes, w_domain="usb", r_domain="sync")
        connect(m, device.pins, flipped(self.pins))
        connect(m, flipped(self.i), going.w_stream)
        connect(m, going.r_stream, device.i)
        connect(m, device.o, coming.w_stream)
        connect(m, coming.r_stream, flipped(self.o))
        return m
