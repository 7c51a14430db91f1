"""What an SDRAM's controller works on: reads and writes cut into bursts, and the rows open."""

from amaranth import Array, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BANKS", "BURST", "CAPACITY", "COLUMNS", "SdramBursts", "SdramPages", "burst_layout"]
__all__ += ["page_layout", "read_layout", "write_layout"]

ROW_WIDTH, BANK_WIDTH, COLUMN_WIDTH = 13, 2, 9
BANKS, COLUMNS = 1 << BANK_WIDTH, 1 << COLUMN_WIDTH
ADDRESS_WIDTH = ROW_WIDTH + BANK_WIDTH + COLUMN_WIDTH
CAPACITY = 1 << ADDRESS_WIDTH  # words of 16 bits
BURST = 8


def read_layout():
    """``count`` words, at least 1, from ``address`` on."""
    return data.StructLayout(
        {"address": unsigned(ADDRESS_WIDTH), "count": unsigned(ADDRESS_WIDTH + 1)}
    )


def write_layout():
    """The word ``data`` for ``address``."""
    return data.StructLayout({"address": unsigned(ADDRESS_WIDTH), "data": unsigned(16)})


def page_layout():
    """A page of 512 words: consecutive pages lie in different banks."""
    return data.StructLayout({"bank": unsigned(BANK_WIDTH), "row": unsigned(ROW_WIDTH)})


def burst_layout():
    """Up to 8 words of a page, or one word to be written.

    ``more`` says that the read goes on in the page ``next``.
    """
    return data.StructLayout(
        {
            "page": page_layout(),
            "column": unsigned(COLUMN_WIDTH),
            "length": unsigned(4),
            "next": page_layout(),
            "more": 1,
            "write": 1,
            "data": unsigned(16),
        }
    )


class SdramBursts(wiring.Component):
    """Cuts reads into bursts that end at addresses divisible by 8; a write is one of its own.

    A write goes before the next read. Latency 2 cycles for a read, 1 for a write. Throughput
    1 burst per cycle, and a cycle more for each read.

    Members
    -------
    read : In(stream of read_layout)
        ``address + count`` is at most 2**24.
    write : In(stream of write_layout)
    o : Out(stream of burst_layout)
    """

    read: In(stream.Signature(read_layout()))
    write: In(stream.Signature(write_layout()))
    o: Out(stream.Signature(burst_layout()))

    def elaborate(self, platform):
        m = Module()
        address = Signal(ADDRESS_WIDTH)
        left = Signal(ADDRESS_WIDTH + 1)
        to_end, length = Signal(4), Signal(4)  # of the burst
        to_page = Signal(COLUMN_WIDTH + 1)
        column, page = address[:COLUMN_WIDTH], address[COLUMN_WIDTH:]
        m.d.comb += [
            to_end.eq(BURST - address[:3]),
            length.eq(Mux(left < to_end, left, to_end)),
            to_page.eq(COLUMNS - column),
            self.read.ready.eq(left == 0),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.o.ready | ~self.o.valid):
            with m.If(left != 0):
                m.d.sync += [
                    self.o.valid.eq(1),
                    self.o.p.page.eq(page),
                    self.o.p.column.eq(column),
                    self.o.p.length.eq(length),
                    self.o.p.next.eq(page + 1),
                    self.o.p.more.eq(left > to_page),
                    self.o.p.write.eq(0),
                    address.eq(address + length),
                    left.eq(left - length),
                ]
            with m.Else():
                m.d.comb += self.write.ready.eq(1)
                m.d.sync += [
                    self.o.valid.eq(self.write.valid),
                    self.o.p.page.eq(self.write.p.address[COLUMN_WIDTH:]),
                    self.o.p.column.eq(self.write.p.address[:COLUMN_WIDTH]),
                    self.o.p.more.eq(0),
                    self.o.p.write.eq(1),
                    self.o.p.data.eq(self.write.p.data),
                ]
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += [address.eq(self.read.p.address), left.eq(self.read.p.count)]
        return m


class SdramPages(wiring.Component):
    """Which rows are open, and whether those of ``page`` and ``next`` are among them.

    What ``right``, ``wrong`` and ``closed`` say is a cycle old.

    Members
    -------
    page, next : In(page_layout)
    open, close : In(page_layout), with ``open_en`` and ``close_en``
        The row is opened in its bank, the bank is closed.
    close_all : In(1)
    right, wrong, closed : Out(2)
        For ``page`` (bit 0) and ``next`` (bit 1): its row is open in its bank, another row is, or
        none is.
    """

    page: In(page_layout())
    next: In(page_layout())
    open: In(page_layout())
    open_en: In(1)
    close: In(page_layout())
    close_en: In(1)
    close_all: In(1)
    right: Out(2)
    wrong: Out(2)
    closed: Out(2)

    def elaborate(self, platform):
        m = Module()
        is_open = Array(Signal(name=f"open_{n}") for n in range(BANKS))
        rows = Array(Signal(ROW_WIDTH, name=f"row_{n}") for n in range(BANKS))
        for n, page in enumerate((self.page, self.next)):
            open_here, same = Signal(name=f"open_here_{n}"), Signal(name=f"same_{n}")
            m.d.comb += [open_here.eq(is_open[page.bank]), same.eq(rows[page.bank] == page.row)]
            m.d.sync += [
                self.right[n].eq(open_here & same),
                self.wrong[n].eq(open_here & ~same),
                self.closed[n].eq(~open_here),
            ]
        with m.If(self.open_en):
            m.d.sync += [is_open[self.open.bank].eq(1), rows[self.open.bank].eq(self.open.row)]
        with m.If(self.close_en):
            m.d.sync += is_open[self.close.bank].eq(0)
        with m.If(self.close_all):
            m.d.sync += [flag.eq(0) for flag in is_open]
        return m
