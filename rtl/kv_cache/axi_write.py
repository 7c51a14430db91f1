"""Writes blocks of a key or a value to AXI4 memory, where the fabric's operands will be read."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.memory.axi_port import ADDRESS_WIDTH, axi_write_port
from celosia.rtl.stream.checks import check_power_of_two

__all__ = ["AxiBlockWriter", "block_layout"]

OUTSTANDING = 16  # bursts that may wait for their answers


def block_layout(lanes):
    """A block of ``lanes`` values and where it goes.

    A byte is a value, or ``packed`` two neighbours of 4 bits. In a ``column``, byte ``r`` goes to
    ``address + r * lanes + lane``, else to ``address + r``. ``address`` is aligned to what all
    bytes of the block cover. ``tag`` comes back when the block is written.
    """
    return data.StructLayout(
        {
            "data": data.ArrayLayout(signed(8), lanes),
            "address": unsigned(ADDRESS_WIDTH),
            "column": 1,
            "lane": unsigned(max(1, lanes.bit_length() - 1)),
            "tag": unsigned(2),
        }
    )


class AxiBlockWriter(wiring.Component):
    """Each block becomes a burst with strobes; its tag comes out when it was answered.

    The burst covers the block's bytes, or ``lanes`` times as many in a column, or is one transfer.
    Addresses and data are offered at once, neither waits for the other.

    Throughput a block in as many cycles as it has transfers, and 1.

    Parameters
    ----------
    lanes : int, a power of two to 32
    data_width : int, a power of two from 32 to 1024
    packed : bool
        Whether values have 4 bits, two to a byte.

    Members
    -------
    i : In(stream of block_layout)
    written : Out(stream of unsigned(2)), always ready
        The tags, in order.
    error : Out(1)
        High for a cycle when a burst was answered with SLVERR or DECERR.
    awaddr ... bready
        AXI4 write channels; the ID is 0, bursts increment.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, data_width, packed=False):
        check_power_of_two("lanes", lanes, 32)
        if data_width not in (32, 64, 128, 256, 512, 1024):
            raise ValueError(
                f"data_width must be a power of two from 32 to 1024, not {data_width!r}"
            )
        if packed and lanes == 1:
            raise ValueError("lanes must be at least 2 where two values share a byte, not 1")
        self.lanes = lanes
        self.octets = lanes // 2 if packed else lanes  # of a block
        self.data_width = data_width
        super().__init__(
            {
                "i": In(stream.Signature(block_layout(lanes))),
                "written": Out(stream.Signature(2, always_ready=True)),
                "error": Out(1),
                **axi_write_port(data_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        size, lanes, octets = self.data_width // 8, self.lanes, self.octets
        low = size.bit_length() - 1
        counts = max(1, octets // size), max(1, octets * lanes // size)  # transfers of a block
        m.submodules.tags = tags = fifo.SyncFIFO(width=2, depth=OUTSTANDING)
        block = Signal(block_layout(lanes))
        values = Signal(data.ArrayLayout(signed(8), octets))  # the first ones go next
        given = self.i.p.data
        if octets < lanes:
            given = Cat(code[:4] for code in given)
        place = Signal(range(max(counts)))  # of the transfer in its burst
        asking, sending = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~asking & ~sending & tags.w_rdy),
            tags.w_en.eq(self.i.valid & self.i.ready),
            tags.w_data.eq(self.i.p.tag),
            self.awvalid.eq(asking),
            self.awaddr.eq(Cat(Const(0, low), block.address[low:])),
            self.awlen.eq(Mux(block.column, counts[1] - 1, counts[0] - 1)),
            self.awsize.eq(size.bit_length() - 1),
            self.awburst.eq(1),
            self.awcache.eq(0b0011),
            self.wvalid.eq(sending),
            self.wlast.eq(place == self.awlen),
            self.bready.eq(1),
            self.written.valid.eq(self.bvalid),
            self.written.payload.eq(tags.r_data),
            tags.r_en.eq(self.bvalid),
            self.error.eq(self.bvalid & self.bresp[1]),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [block.eq(self.i.p), values.eq(given), place.eq(0)]
            m.d.sync += [asking.eq(1), sending.eq(1)]
        with m.If(asking & self.awready):
            m.d.sync += asking.eq(0)
        with m.If(sending & self.wready):
            m.d.sync += place.eq(place + 1)
            with m.If(self.wlast):
                m.d.sync += sending.eq(0)
            row_ends = (place + 1) * size & lanes - 1 == 0 if size < lanes else Const(1)
            rest = values.as_value()
            with m.If(~block.column):
                m.d.sync += rest.eq(rest >> 8 * size)
            with m.Elif(row_ends):
                m.d.sync += rest.eq(rest >> 8 * max(1, size // lanes))
        for n in range(size):
            self._byte(m, n, block, values, place)
        return m

    def _byte(self, m, n, block, values, place):
        """Byte ``n`` of the transfer at ``place`` of the block, and its strobe."""
        size, lanes, octets = self.data_width // 8, self.lanes, self.octets
        within = block.address[: size.bit_length() - 1]
        lane = n % lanes if size >= lanes else place * size + n & lanes - 1
        m.d.comb += [
            self.wdata.word_select(n, 8).eq(
                Mux(block.column, values[n // lanes % octets], values[n % octets])
            ),
            self.wstrb[n].eq(
                Mux(
                    block.column,
                    (lane == block.lane) & _covers(n, within, octets * lanes),
                    _covers(n, within, octets),
                )
            ),
        ]


def _covers(n, address, chunk):
    """Whether byte ``n`` of a transfer lies in the aligned ``chunk`` bytes from ``address`` on."""
    return Const(n // chunk) == address >> (chunk.bit_length() - 1)
