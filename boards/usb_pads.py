"""The pins of a chip's own USB: a register in each of the two lines, both ways."""

from amaranth import Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In
from celosia.rtl.usb.device import usb_pins

__all__ = ["UsbPads"]


class UsbPads(wiring.Component):
    """Between a USB device, in the domain ``usb``, and the pins.

    Latency 1 cycle each way.

    Parameters
    ----------
    ports : object
        The resource ``usb`` of a board: :class:`amaranth.lib.io.PortLike` attributes ``d_p``,
        ``d_n`` and ``pullup``.

    Members
    -------
    pins : In(usb_pins)
    """

    pins: In(usb_pins())

    def __init__(self, ports):
        self.ports = ports
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        pins, domains = self.pins, {"i_domain": "usb", "o_domain": "usb"}
        m.submodules.d_p = d_p = io.FFBuffer("io", self.ports.d_p, **domains)
        m.submodules.d_n = d_n = io.FFBuffer("io", self.ports.d_n, **domains)
        m.submodules.pullup = pullup = io.Buffer("o", self.ports.pullup)
        m.d.comb += [
            d_p.o.eq(pins.dp_o),
            d_n.o.eq(pins.dn_o),
            d_p.oe.eq(pins.oe),
            d_n.oe.eq(pins.oe),
            pins.dp_i.eq(d_p.i),
            pins.dn_i.eq(d_n.i),
            pullup.o.eq(pins.pullup),
        ]
        return m
