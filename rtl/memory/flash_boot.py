"""Fills a memory from a serial flash, once, after reset."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.memory.sdram_bursts import CAPACITY, read_layout, write_layout
from celosia.rtl.memory.spi_flash import flash_read_layout
from celosia.rtl.stream.checks import check_range

__all__ = ["FlashBoot"]


class FlashBoot(wiring.Component):
    """Words 0 to ``size - 1`` of a memory become the flash's bytes from ``offset`` on.

    The lower byte of a word comes first. At the end the memory is asked for the checksum of all
    these words, which is thereby judged (``SdramTape``), and dropped.

    Parameters
    ----------
    size : int, 1 to 2**24
        In words of 16 bits.
    offset : int, 0 to 2**24 - 1
        ``offset + 2 * size`` is at most 2**24.

    Members
    -------
    read : Out(stream of flash_read_layout)
    i : In(stream of unsigned(8))
        The flash's bytes.
    write, check, checksum
        The memory's, see :func:`celosia.rtl.host.host_memory.memory_port`.
    busy : Out(1)
        From reset until all this is done.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    read: Out(stream.Signature(flash_read_layout()))
    i: In(stream.Signature(8))
    write: Out(stream.Signature(write_layout()))
    check: Out(stream.Signature(read_layout()))
    checksum: In(stream.Signature(unsigned(32)))
    busy: Out(1, init=1)

    def __init__(self, size, offset):
        check_range("size", size, 1, CAPACITY)
        check_range("offset", offset, 0, (1 << 24) - 1)
        check_range("offset + 2 * size", offset + 2 * size, 0, 1 << 24)
        self.size = size
        self.offset = offset
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        upper = Signal()
        low = Signal(8)
        place = Signal(range(self.size))
        m.d.comb += [
            self.read.p.address.eq(self.offset),
            self.read.p.count.eq(2 * self.size),
            self.write.p.address.eq(place),
            self.write.p.data.eq(self.i.payload << 8 | low),
            self.check.p.address.eq(0),
            self.check.p.count.eq(self.size),
        ]
        with m.FSM():
            with m.State("ASK"):
                m.d.comb += self.read.valid.eq(1)
                with m.If(self.read.ready):
                    m.next = "COPY"
            with m.State("COPY"):
                m.d.comb += [
                    self.write.valid.eq(self.i.valid & upper),
                    self.i.ready.eq(~upper | self.write.ready),
                ]
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [low.eq(self.i.payload), upper.eq(~upper)]
                    with m.If(upper):
                        m.d.sync += place.eq(place + 1)
                        with m.If(place == self.size - 1):
                            m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.check.valid.eq(1)
                with m.If(self.check.ready):
                    m.next = "SUM"
            with m.State("SUM"):
                m.d.comb += self.checksum.ready.eq(1)
                with m.If(self.checksum.valid):
                    m.d.sync += self.busy.eq(0)
                    m.next = "DONE"
            with m.State("DONE"):
                pass
        return m
