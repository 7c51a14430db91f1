"""An SDR SDRAM's controller: long sequential reads at the bus's full rate."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import enum, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.rtl.memory.sdram_bursts import (
    BURST,
    SdramBursts,
    SdramPages,
    read_layout,
    write_layout,
)
from celosia.rtl.memory.sdram_timing import SdramTiming
from celosia.rtl.stream.buffer import Buffer
from celosia.rtl.stream.checks import check_range

__all__ = ["Command", "Sdram", "sdram_pins"]

INITIAL_REFRESHES = 8
ALL_BANKS = 1 << 10
SINGLE_WRITES = 1 << 9


class Command(enum.Enum, shape=3):
    """The pins ras_n, cas_n and we_n, the first one highest, while cs_n is low."""

    MODE = 0b000
    REFRESH = 0b001
    PRECHARGE = 0b010
    ACTIVATE = 0b011
    WRITE = 0b100
    READ = 0b101
    STOP = 0b110
    NOP = 0b111


def sdram_pins():
    """A chip's pins as its controller sees them, named as in its data sheet; ``dq`` in three."""
    return wiring.Signature(
        {
            "cke": Out(1),
            "cs_n": Out(1, init=1),
            "ras_n": Out(1, init=1),
            "cas_n": Out(1, init=1),
            "we_n": Out(1, init=1),
            "ba": Out(2),
            "a": Out(13),
            "dqm": Out(2, init=3),
            "dq_o": Out(16),
            "dq_oe": Out(1),
            "dq_i": In(16),
        }
    )


class Sdram(wiring.Component):
    """``o`` delivers words ``address`` to ``address + count - 1`` of each read, in order.

    For chips of 13 row, 9 column and 2 bank address bits and 16 bits of data. Consecutive pages of
    512 words lie in different banks, and a page is opened while the one before it is being read:
    a long read moves a word in every cycle but those of a refresh (every 7.8 us, 10 to 13 cycles).
    The chip is asked only for what the buffer has room for.

    A write waits for the reads accepted before it. It takes 3 cycles, more where a row must be
    opened.

    Between outputs and chip may lie one register in each pin, and another one on the data's way
    back: the data of a READ that the outputs show in cycle ``n`` are taken from ``dq_i`` from
    cycle ``n + cas_latency + 2`` on. ``dq_o`` and ``dq_oe`` go with their WRITE.

    Latency of a read, for an idle chip, about 13 cycles and those of ACTIVATE. Throughput 1 word
    per cycle.

    Parameters
    ----------
    frequency : number, 1e6 or more
        Of the clock, in Hz.
    timing : SdramTiming, optional
    buffer : int, 16 to 65536
        Words that may be asked for or wait.

    Members
    -------
    read : In(stream of read_layout)
        ``address + count`` is at most 2**24.
    write : In(stream of write_layout)
    o : Out(stream of unsigned(16))
    pins : Out(sdram_pins)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, frequency, timing=None, buffer=1024):
        if not frequency >= 1e6:
            raise ValueError(f"frequency must be at least 1e6, not {frequency!r}")
        check_range("buffer", buffer, 2 * BURST, 1 << 16)
        self.frequency = frequency
        self.timing = timing or SdramTiming()
        self.buffer = buffer
        self.cas_latency = self.timing.cas_latency(frequency)
        super().__init__(
            {
                "read": In(stream.Signature(read_layout())),
                "write": In(stream.Signature(write_layout())),
                "o": Out(stream.Signature(unsigned(16))),
                "pins": Out(sdram_pins()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = SdramBursts()
        m.submodules.pages = pages = SdramPages()
        connect(m, flipped(self.read), bursts.read)
        connect(m, flipped(self.write), bursts.write)
        burst = bursts.o
        m.d.comb += [pages.page.eq(burst.p.page), pages.next.eq(burst.p.next)]

        cycles = self._cycles()
        wait = _timer(m, "wait", cycles["power_up"], init=cycles["power_up"])
        column = _timer(m, "column", cycles["rcd"])  # cycles until it is allowed
        activate = _timer(m, "activate", cycles["rc"])
        precharge = _timer(m, "precharge", max(cycles["ras"], cycles["wr"]))
        write = _timer(m, "write", cycles["release"])
        words = _timer(m, "words", BURST)  # that the last READ still has to give
        refresh, refreshed = self._refresh(m)
        room = self._buffer(m, burst, words)

        pins, command = self.pins, Signal(Command, init=Command.NOP)
        stale = Signal()  # what the pages say is not of now
        m.d.comb += [pins.cke.eq(1), Cat(pins.we_n, pins.cas_n, pins.ras_n).eq(command)]
        m.d.sync += [command.eq(Command.NOP), pins.cs_n.eq(1), pins.dq_oe.eq(0)]
        m.d.sync += stale.eq(~burst.valid | burst.ready)

        def issue(what, bank, address):
            m.d.sync += [command.eq(what), pins.cs_n.eq(0), pins.ba.eq(bank), pins.a.eq(address)]
            m.d.sync += stale.eq(1)

        def open_page(page):
            issue(Command.ACTIVATE, page.bank, page.row)
            m.d.comb += [pages.open.eq(page), pages.open_en.eq(1)]
            m.d.sync += [column.eq(cycles["rcd"] - 1), precharge.eq(cycles["ras"] - 1)]
            m.d.sync += activate.eq(cycles["rc"] - 1)

        def close_page(page):
            issue(Command.PRECHARGE, page.bank, 0)
            m.d.comb += [pages.close.eq(page), pages.close_en.eq(1)]
            m.d.sync += activate.eq(cycles["rp"] - 1)

        left = Signal(range(INITIAL_REFRESHES + 1), init=INITIAL_REFRESHES)
        with m.FSM():
            with m.State("POWER UP"), m.If(wait == 0):
                m.next = "PRECHARGE"
            with m.State("PRECHARGE"), m.If((words == 0) & (precharge == 0)):
                issue(Command.PRECHARGE, 0, ALL_BANKS)
                m.d.comb += pages.close_all.eq(1)
                m.d.sync += [wait.eq(cycles["rp"] - 1), pins.dqm.eq(0)]
                m.next = "REFRESH"
            with m.State("REFRESH"), m.If(wait == 0):
                issue(Command.REFRESH, 0, 0)
                m.d.comb += refreshed.eq(1)
                m.d.sync += wait.eq(cycles["rfc"] - 1)
                m.next = "WORK"
                with m.If(left != 0):
                    m.d.sync += left.eq(left - 1)
                    m.next = "REFRESH"
                with m.If(left == 1):
                    m.next = "MODE"
            with m.State("MODE"), m.If(wait == 0):
                issue(Command.MODE, 0, SINGLE_WRITES | self.cas_latency << 4 | 3)
                m.d.sync += wait.eq(self.timing.mode_cycles - 1)
                m.next = "WORK"
            with m.State("WORK"):
                right, wrong, closed = pages.right, pages.wrong, pages.closed
                ahead = burst.p.more & (words > cycles["rcd"])  # time to prepare the next page
                with m.If(refresh):
                    m.next = "PRECHARGE"
                with m.Elif((wait != 0) | stale):
                    pass
                with m.Elif(right[0] & (column == 0)):
                    with m.If(burst.p.write & (write == 0) & (precharge <= cycles["wr"])):
                        issue(Command.WRITE, burst.p.page.bank, burst.p.column)
                        m.d.comb += burst.ready.eq(1)
                        m.d.sync += [pins.dq_oe.eq(1), precharge.eq(cycles["wr"] - 1)]
                    with m.If(~burst.p.write & (words == 0) & room):
                        issue(Command.READ, burst.p.page.bank, burst.p.column)
                        m.d.comb += burst.ready.eq(1)
                        m.d.sync += words.eq(burst.p.length - 1)
                        m.d.sync += write.eq(cycles["release"] - 1)
                    with m.Elif(ahead & wrong[1] & (precharge == 0)):
                        close_page(burst.p.next)
                    with m.Elif(ahead & closed[1] & (activate == 0)):
                        open_page(burst.p.next)
                with m.Elif(wrong[0] & (words == 0) & (precharge == 0)):
                    close_page(burst.p.page)
                with m.Elif(closed[0] & (activate == 0)):
                    open_page(burst.p.page)
        m.d.sync += pins.dq_o.eq(burst.p.data)
        return m

    def _cycles(self):
        """The least cycles between two commands, whatever their banks."""
        names = ("power_up", "rcd", "rp", "ras", "rc", "rfc", "wr")
        cycles = {name: self.timing.cycles(name, self.frequency) for name in names}
        cycles["wr"] = max(cycles["wr"], self.timing.write_cycles)
        cycles["rc"] = max(cycles["rc"], self.timing.cycles("rrd", self.frequency))
        cycles["ras"] = max(cycles["ras"], cycles["rc"] - cycles["rp"])
        cycles["release"] = BURST + self.cas_latency + 1  # READ to WRITE: the chip lets dq go
        return cycles

    def _refresh(self, m):
        """High when a refresh is due; and a signal to say that it was given."""
        period = self.timing.cycles("refresh", self.frequency) - 1
        left = Signal(range(period), init=period - 1)
        due, given = Signal(), Signal()
        with m.If(given):
            m.d.sync += due.eq(0)
        m.d.sync += left.eq(left - 1)
        with m.If(left == 0):
            m.d.sync += [left.eq(period - 1), due.eq(1)]
        return due, given

    def _buffer(self, m, burst, words):
        """Words on their way to ``o``; high when there is room for another burst."""
        m.submodules.buffer = buffer = fifo.SyncFIFOBuffered(width=16, depth=self.buffer)
        m.submodules.register = register = Buffer(unsigned(16))  # memories are slow
        asks, gives, taken, room = Signal(), Signal(), Signal(), Signal()
        free = Signal(range(self.buffer + 1), init=self.buffer)
        way = Signal(self.cas_latency + 3)
        m.d.comb += [
            asks.eq(burst.valid & burst.ready & ~burst.p.write),
            gives.eq(asks | (words != 0)),
            buffer.w_en.eq(way[-1]),
            buffer.w_data.eq(self.pins.dq_i),
            taken.eq(buffer.r_rdy & buffer.r_en),
        ]
        connect(m, buffer.r_stream, register.i)
        connect(m, register.o, flipped(self.o))
        m.d.sync += [
            way.eq(Cat(gives, way)),
            free.eq(free + taken - Mux(asks, burst.p.length, 0)),
            room.eq(free >= BURST),
        ]
        return room


def _timer(m, name, most, init=0):
    """A register that counts down to 0, where it is not set."""
    left = Signal(range(most + 1), name=name, init=init)
    with m.If(left != 0):
        m.d.sync += left.eq(left - 1)
    return left
