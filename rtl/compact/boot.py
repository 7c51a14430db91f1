"""Fills the compact machine's tape of weights from a serial flash, once, at start."""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from celosia.rtl.memory.spi_flash import SpiFlash, spi_flash_pins
from celosia.rtl.memory.spram import SPRAM_DEPTH
from celosia.rtl.stream.checks import check_range

__all__ = ["CompactBoot"]

PARTS = 4  # of 16 bits in a word
FASTEST = 50e6  # Hz of the flash's clock: half the machine's is below that


class CompactBoot(wiring.Component):
    """Words 0 to ``size - 1``, 64 bits each, are the flash's bytes from ``offset`` on.

    Throughput 1 word in 128 cycles.

    Parameters
    ----------
    size : int, 1 to 16384
    offset : int, 0 to 2**24 - 1
        ``offset + 8 * size`` is at most 2**24.
    frequency : number
        Of the clock, in Hz.

    Members
    -------
    flash : Out(spi_flash_pins)
    addr : Out(unsigned(14))
    octets : Out(unsigned(64))
        Two bytes, four times.
    en : Out(unsigned(4))
        Which part of the word at ``addr`` is to become them.
    busy : Out(1)
        From reset until all is there.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    flash: Out(spi_flash_pins())
    addr: Out(14)
    octets: Out(64)
    en: Out(PARTS)
    busy: Out(1, init=1)

    def __init__(self, size, offset, frequency):
        check_range("size", size, 1, SPRAM_DEPTH)
        check_range("offset", offset, 0, (1 << 24) - 1)
        check_range("offset + 8 * size", offset + 8 * size, 0, 1 << 24)
        self.size = size
        self.offset = offset
        self.frequency = frequency
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = SpiFlash(self.frequency)
        connect(m, reader.pins, flipped(self.flash))
        asked = Signal()
        upper, part = Signal(), Signal(range(PARTS))
        low = Signal(8)
        m.d.comb += [
            reader.read.valid.eq(~asked),
            reader.read.p.address.eq(self.offset),
            reader.read.p.count.eq(8 * self.size),
            reader.o.ready.eq(1),
            self.octets.eq(Cat(low, reader.o.payload).replicate(PARTS)),
            self.en.eq((reader.o.valid & upper) << part),
        ]
        with m.If(reader.read.ready):
            m.d.sync += asked.eq(1)
        with m.If(reader.o.valid):
            m.d.sync += [low.eq(reader.o.payload), upper.eq(~upper)]
            with m.If(upper):
                m.d.sync += part.eq(part + 1)
                with m.If(part == PARTS - 1):
                    m.d.sync += self.addr.eq(self.addr + 1)
                    with m.If(self.addr == self.size - 1):
                        m.d.sync += self.busy.eq(0)
        return m
