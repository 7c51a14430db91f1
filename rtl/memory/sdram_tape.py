"""The tape in an SDRAM, which must be loaded first, and can say what it holds."""

from amaranth import Module, Mux, Shape, Signal, unsigned
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.memory.gearbox import Gearbox
from celosia.rtl.memory.sdram import Sdram, sdram_pins
from celosia.rtl.memory.sdram_bursts import CAPACITY, read_layout, write_layout
from celosia.rtl.memory.tape import run_layout
from celosia.rtl.stream.checks import check_range

__all__ = ["CHECKSUM", "SdramTape"]

CHECKSUM = catalog.CRC32_ISO_HDLC(16)  # zlib.crc32 of the words' bytes, the lower one first
RUNS = 4  # accepted and not yet delivered


class SdramTape(wiring.Component):
    """A ``Tape`` in an SDRAM: ``o`` delivers the words of each run, in order.

    Word ``n`` begins at bit ``n * packed_width(width, 16)`` of the memory, from address 0 on and
    the lowest bits first: see :func:`celosia.rtl.memory.gearbox.packed_width`.

    ``holds`` says that the memory is known to hold the tape: the checksum of all its words was
    asked for and was right, and nothing was written since.

    Latency 6 cycles and the memory's. Throughput 1 word in ``packed_width / 16`` cycles, but for
    refreshes: :class:`celosia.rtl.memory.sdram.Sdram`.

    Parameters
    ----------
    shape : shape-like
        Of one word.
    size : int, 1 to 2**24
        Of the tape, in the memory's words of 16 bits.
    checksum : int, 0 to 2**32 - 1
        The tape's CRC-32.
    frequency : number
        Of the clock, in Hz.
    buffer : int
        Words of 16 bits that are read ahead.

    Members
    -------
    run : In(stream of run_layout)
    o : Out(stream of shape)
    write : In(stream of write_layout)
        Only while no run is under way.
    check : In(stream of read_layout)
        Words whose checksum is asked for; likewise.
    checksum : Out(stream of unsigned(32))
        Of each check.
    holds : Out(1)
    pins : Out(sdram_pins)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, shape, size, checksum, frequency, buffer=1024):
        check_range("size", size, 1, CAPACITY)
        check_range("checksum", checksum, 0, (1 << 32) - 1)
        self.shape = shape
        self.size = size
        self.right = checksum
        self.sdram = Sdram(frequency, buffer=buffer)
        super().__init__(
            {
                "run": In(stream.Signature(run_layout())),
                "o": Out(stream.Signature(shape)),
                "write": In(stream.Signature(write_layout())),
                "check": In(stream.Signature(read_layout())),
                "checksum": Out(stream.Signature(unsigned(32))),
                "holds": Out(1),
                "pins": Out(sdram_pins()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sdram = sdram = self.sdram
        connect(m, flipped(self.write), sdram.write)
        connect(m, sdram.pins, flipped(self.pins))
        m.submodules.gearbox = gearbox = Gearbox(Shape.cast(self.shape).width, 16)
        m.submodules.crc = crc = CHECKSUM.create()
        m.d.comb += [
            self.o.payload.eq(gearbox.o.payload),
            self.o.valid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(self.o.ready),
            gearbox.i.payload.eq(sdram.o.payload),
            crc.data.eq(sdram.o.payload),
        ]
        read = self._runs(m, gearbox)

        left = Signal.like(self.check.p.count)  # words to be summed up
        last = Signal()  # there is one
        whole = Signal()  # these are the tape's
        summing = Signal()
        m.d.comb += [
            gearbox.i.valid.eq(sdram.o.valid & ~summing),
            sdram.o.ready.eq(gearbox.i.ready | summing),
            crc.valid.eq(sdram.o.valid & summing),
            self.checksum.payload.eq(crc.crc),
        ]
        asks = Signal()  # a check goes to the memory
        m.d.comb += [
            asks.eq(self.check.valid & ~summing & ~self.checksum.valid),
            crc.start.eq(asks),
            sdram.read.valid.eq(asks | read.valid),
            sdram.read.payload.eq(
                Mux(asks, self.check.payload.as_value(), read.payload.as_value())
            ),
            self.check.ready.eq(asks & sdram.read.ready),
            read.ready.eq(sdram.read.ready & ~asks),
        ]
        with m.If(self.check.valid & self.check.ready):
            m.d.sync += [left.eq(self.check.p.count), summing.eq(1)]
            m.d.sync += last.eq(self.check.p.count == 1)
            m.d.sync += whole.eq((self.check.p.address == 0) & (self.check.p.count == self.size))
        with m.If(crc.valid):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
            with m.If(last):
                m.d.sync += [self.checksum.valid.eq(1), summing.eq(0)]
        with m.If(self.checksum.valid & self.checksum.ready):
            m.d.sync += self.checksum.valid.eq(0)
            with m.If(whole):
                m.d.sync += self.holds.eq(crc.crc == self.right)
        with m.If(self.write.valid & self.write.ready):
            m.d.sync += self.holds.eq(0)
        return m

    def _runs(self, m, gearbox):
        """Runs of the tape's words as reads of the memory's: a stream of read_layout's bits."""
        m.submodules.spans = spans = fifo.SyncFIFO(width=gearbox.span.p.shape().size, depth=RUNS)
        shift = gearbox.transfers.bit_length() - 1
        read = stream.Signature(read_layout()).create()
        first, length = Signal(32), Signal(32)  # of the run, in granules
        span = Signal(gearbox.span.p.shape())
        count = Signal.like(gearbox.span.p.count)
        waits = Signal()  # for its place among the spans
        m.d.comb += [
            gearbox.span.payload.eq(spans.r_data),
            gearbox.span.valid.eq(spans.r_rdy),
            spans.r_en.eq(gearbox.span.ready),
            spans.w_data.eq(span),
            span.start.eq(first[:shift]),
            span.count.eq(count),
            self.run.ready.eq(~waits & ~read.valid),
            spans.w_en.eq(waits),
        ]
        with m.If(self.run.valid & self.run.ready):
            m.d.sync += [
                first.eq(self.run.p.address * gearbox.words),
                length.eq(self.run.p.count * gearbox.words),
                count.eq(self.run.p.count),
                waits.eq(1),
            ]
        with m.If(waits & spans.w_rdy):
            m.d.sync += [
                waits.eq(0),
                read.valid.eq(1),
                read.p.address.eq(first[shift:]),
                read.p.count.eq(span.start + length + gearbox.transfers - 1 >> shift),
            ]
        with m.If(read.valid & read.ready):
            m.d.sync += read.valid.eq(0)
        return read
