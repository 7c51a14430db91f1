"""The tape in external memory: runs of words become long bursts of AXI4 reads."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Shape
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.memory.axi_port import ADDRESS_WIDTH, PAGE, axi_read_port, join_pins
from celosia.rtl.memory.gearbox import Gearbox
from celosia.rtl.memory.tape import run_layout
from celosia.rtl.stream.checks import check_range

__all__ = ["AxiReader", "AxiTape", "axi_pins", "port_width"]

LONGEST = 256  # transfers of a burst
SPANS = 4  # runs asked for ahead of their words


def axi_pins(memory):
    """The members ``m_axi0_araddr`` and so on of ``memory``'s ports (data_width, ports)."""
    names = axi_read_port(memory.data_width)
    return {f"m_axi{n}_{k}": member for n in range(memory.ports) for k, member in names.items()}


def port_width(width, ports):
    """The bits of a word of ``width`` bits that lie behind each of ``ports`` ports."""
    return -(-width // ports)


class AxiReader(wiring.Component):
    """``o`` delivers ``width`` bits for each word of each run, from AXI4 memory, in order.

    Word ``n`` begins at bit ``n * packed_width(width, data_width)`` of the memory, the lowest bit
    of a byte first: see ``gearbox.packed_width``, which pads by at most 1.25 %.
    Bursts are as long as the run, 256 transfers, the 4 KiB page and the room in the buffer allow,
    and follow each other without waiting for data; the buffer always has room for what was asked
    for, so that ``rready`` is never low.

    Latency 7 cycles, 8 where a transfer holds several words, and the memory's. Throughput 1
    transfer per cycle, or 1 word per cycle where a word is narrower, if ``buffer`` transfers cover
    the memory's latency.

    Parameters
    ----------
    width : int, 1 to 2**16
    data_width : int, a power of two from 32 to 1024
    buffer : int, at least 16
        Transfers that may be asked for or wait.

    Members
    -------
    run : In(stream of run_layout)
    o : Out(stream of unsigned(width))
    araddr ... rready
        AXI4 read address and read data channels; the ID is 0, bursts increment.
    error : Out(1)
        High for a cycle when a transfer came with SLVERR or DECERR. Its data are used all the
        same.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, width, data_width, buffer=512):
        if data_width not in (32, 64, 128, 256, 512, 1024):
            raise ValueError(
                f"data_width must be a power of two from 32 to 1024, not {data_width!r}"
            )
        check_range("width", width, 1, 1 << 16)
        check_range("buffer", buffer, 16, 1 << 16)
        self.width = width
        self.data_width = data_width
        self.buffer = buffer
        super().__init__(
            {
                "run": In(stream.Signature(run_layout())),
                "o": Out(stream.Signature(unsigned(width))),
                **axi_read_port(data_width),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = fifo.SyncFIFOBuffered(
            width=self.data_width, depth=self.buffer
        )
        m.submodules.gearbox = gearbox = Gearbox(self.width, self.data_width)
        m.submodules.spans = spans = fifo.SyncFIFO(width=gearbox.span.p.shape().size, depth=SPANS)
        size = self.data_width // 8
        page = PAGE // size
        shift = gearbox.transfers.bit_length() - 1
        first = Signal(ADDRESS_WIDTH)  # of the run, in granules
        length = Signal(ADDRESS_WIDTH)
        count = Signal.like(gearbox.span.p.count)
        span = Signal(gearbox.span.p.shape())
        address = Signal(ADDRESS_WIDTH)
        left = Signal(ADDRESS_WIDTH - shift)  # transfers of the run not yet asked for
        room = Signal(range(self.buffer + 1), init=self.buffer)
        burst = Signal(range(LONGEST + 1))
        asked, taken = Signal(), Signal()
        m.d.comb += [
            self.araddr.eq(address),
            self.arlen.eq(burst - 1),
            self.arsize.eq(size.bit_length() - 1),
            self.arburst.eq(1),
            self.arcache.eq(0b0011),
            self.rready.eq(1),
            buffer.w_en.eq(self.rvalid),
            buffer.w_data.eq(self.rdata),
            self.error.eq(self.rvalid & self.rresp[1]),
            taken.eq(buffer.r_en & buffer.r_rdy),
            asked.eq(self.arvalid & self.arready),
        ]
        m.d.sync += room.eq(room + taken - Mux(asked, burst, 0))
        m.d.comb += [
            gearbox.i.payload.eq(buffer.r_data),
            gearbox.i.valid.eq(buffer.r_rdy),
            buffer.r_en.eq(gearbox.i.ready),
            gearbox.span.payload.eq(spans.r_data),
            gearbox.span.valid.eq(spans.r_rdy),
            spans.r_en.eq(gearbox.span.ready),
            spans.w_data.eq(span),
            span.start.eq(first[:shift]),
            span.count.eq(count),
        ]
        connect(m, gearbox.o, flipped(self.o))

        to_page = Signal(range(page + 1))
        m.d.comb += to_page.eq(page - address[size.bit_length() - 1 : 12])
        longest = min(LONGEST, page, self.buffer)
        allowed = Signal(range(longest + 1))
        m.d.comb += allowed.eq(Mux(left < to_page, left, to_page))
        if page > LONGEST or self.buffer < page:
            limited = Mux(to_page > longest, longest, to_page)
            m.d.comb += allowed.eq(Mux(left < limited, left, limited))
        with m.FSM():
            with m.State("RUN"):
                m.d.comb += self.run.ready.eq(1)
                with m.If(self.run.valid):
                    m.d.sync += [
                        first.eq(self.run.p.address * gearbox.words),
                        length.eq(self.run.p.count * gearbox.words),
                        count.eq(self.run.p.count),
                    ]
                    m.next = "SPAN"
            with m.State("SPAN"), m.If(spans.w_rdy):
                m.d.comb += spans.w_en.eq(1)
                m.d.sync += [
                    address.eq(first[shift:] << size.bit_length() - 1),
                    left.eq(span.start + length + gearbox.transfers - 1 >> shift),
                ]
                m.next = "SIZE"
            with m.State("SIZE"), m.If(room >= allowed):
                m.d.sync += burst.eq(allowed)
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.arvalid.eq(1)
                with m.If(self.arready):
                    m.d.sync += [address.eq(address + burst * size), left.eq(left - burst)]
                    m.next = "SIZE"
                    with m.If(left == burst):
                        m.next = "RUN"
        return m


class AxiTape(wiring.Component):
    """A ``Tape`` in external memory, striped over ``ports`` AXI4 masters.

    Port ``n`` holds slice ``n`` of every word, ``port_width(width, ports)`` bits each, the lowest
    in port 0; :func:`celosia.generators.program.tape_image.port_images` makes the memories'
    contents. Latency and throughput: :class:`AxiReader`.

    Parameters
    ----------
    shape : shape-like
        Of one word, of any number of bits from ``ports`` up.
    data_width : int, a power of two from 32 to 1024
    ports : int, 1 to 16
    buffer : int, a power of two
        Of each :class:`AxiReader`.

    Members
    -------
    run : In(stream of run_layout)
    o : Out(stream of shape)
    m_axi0_araddr ...
        The ports, see :func:`celosia.rtl.memory.axi_port.axi_read_port`.
    error : Out(1)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, shape, data_width, ports=1, buffer=512):
        check_range("ports", ports, 1, 16)
        part = port_width(Shape.cast(shape).width, ports)
        self.ports = ports
        self.readers = [AxiReader(part, data_width, buffer) for _ in range(ports)]
        self.data_width = data_width
        pins = axi_pins(self)
        self.pins = tuple(pins)
        super().__init__(
            {
                "run": In(stream.Signature(run_layout())),
                "o": Out(stream.Signature(shape)),
                "error": Out(1),
                **pins,
            }
        )

    def elaborate(self, platform):
        m = Module()
        accepted = Signal(self.ports)  # by which readers the run under way was accepted
        done = Cat(accepted[n] | reader.run.ready for n, reader in enumerate(self.readers)).all()
        valid = Cat(reader.o.valid for reader in self.readers).all()
        m.d.comb += [
            self.run.ready.eq(done),
            self.o.valid.eq(valid),
            self.o.payload.eq(Cat(reader.o.payload for reader in self.readers)),
            self.error.eq(Cat(reader.error for reader in self.readers).any()),
        ]
        for n, reader in enumerate(self.readers):
            m.submodules[f"port_{n}"] = reader
            m.d.comb += [
                reader.run.payload.eq(self.run.payload),
                reader.run.valid.eq(self.run.valid & ~accepted[n]),
                reader.o.ready.eq(self.o.ready & valid),
            ]
            with m.If(self.run.valid):
                ready = accepted[n] | reader.run.ready
                m.d.sync += accepted[n].eq(ready & ~done)
            join_pins(m, self, f"m_axi{n}_", reader, axi_read_port(self.data_width))
        return m
