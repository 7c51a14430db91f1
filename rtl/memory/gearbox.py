"""The gearbox: words of any number of bits out of a memory's transfers, packed without gaps."""

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_power_of_two, check_range

__all__ = ["Gearbox", "granule", "packed_width", "span_layout"]

WASTE = 80  # at most one bit of so many is padding
COUNT_WIDTH = 28


def granule(width, data_width):
    """The unit in which words of ``width`` bits are packed: a power of two of bits.

    The largest one up to ``data_width`` that pads a word by at most a part in 80: the coarser the
    unit, the smaller the shifter.
    """
    units = [1 << n for n in range(data_width.bit_length())]
    return max(unit for unit in units if -width % unit * WASTE <= width)


def packed_width(width, data_width):
    """The bits from one word of ``width`` bits to the next in memory: whole granules."""
    unit = granule(width, data_width)
    return -(-width // unit) * unit


def span_layout(width, data_width):
    """``count`` words, at least 1, of which the first begins ``start`` granules into a transfer."""
    unit = granule(width, data_width)
    return data.StructLayout(
        {"start": unsigned((data_width // unit).bit_length()), "count": unsigned(COUNT_WIDTH)}
    )


class Gearbox(wiring.Component):
    """For each span ``count`` words: bits ``start * granule + k * packed_width`` and up, of all
    its transfers one behind the other, the lowest bits first.

    A span begins with a transfer of its own; what its last transfer holds beyond it is dropped.

    Latency from a word's last transfer 1 cycle, 2 where that is also its first and holds several.
    Throughput 1 transfer per cycle where a word is at least as wide as a transfer, else 1 word per
    cycle, and 2 cycles more from span to span.

    Parameters
    ----------
    width : int, 1 to 2**16
        Bits of a word.
    data_width : int, a power of two to 1024
        Bits of a transfer.

    Members
    -------
    span : In(stream of span_layout)
    i : In(stream of unsigned(data_width))
        Transfers.
    o : Out(stream of unsigned(width))
        Words.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, width, data_width):
        check_range("width", width, 1, 1 << 16)
        check_power_of_two("data_width", data_width, 1024)
        self.width = width
        self.data_width = data_width
        self.granule = granule(width, data_width)
        self.words = packed_width(width, data_width) // self.granule
        self.transfers = data_width // self.granule
        super().__init__(
            {
                "span": In(stream.Signature(span_layout(width, data_width))),
                "i": In(stream.Signature(unsigned(data_width))),
                "o": Out(stream.Signature(unsigned(width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.words < self.transfers:
            self._cut(m)
        else:
            self._gather(m)
        return m

    def _bits(self, units):
        """As many bits as a number of granules has."""
        return Cat(Const(0, self.granule.bit_length() - 1), units)

    def _cut(self, m):
        """Several words in a transfer: a window slides over the transfer and its successor."""
        w, d = self.words, self.transfers
        current = Signal(self.data_width)
        held, active = Signal(), Signal()
        place = Signal(range(d))  # of the next word in the current transfer
        left = Signal(COUNT_WIDTH)
        end = Signal(range(d + w))
        emit, last = Signal(), Signal()
        window = Cat(current, self.i.payload) >> self._bits(place)
        m.d.comb += [
            end.eq(place + w),
            last.eq(left == 1),
            emit.eq(active & held & ((end <= d) | self.i.valid) & (self.o.ready | ~self.o.valid)),
            self.span.ready.eq(~active),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(emit):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(window), left.eq(left - 1)]
            m.d.sync += place.eq(Mux(end >= d, end - d, end))
            m.d.comb += self.i.ready.eq(Mux(last, end > d, end >= d))
            with m.If(last):
                m.d.sync += [active.eq(0), held.eq(0)]
            with m.Elif(end >= d):
                m.d.sync += [current.eq(self.i.payload), held.eq(self.i.valid)]
        with m.Elif(active & ~held):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [current.eq(self.i.payload), held.eq(self.i.valid)]
        with m.If(self.span.valid & self.span.ready):
            m.d.sync += [place.eq(self.span.p.start), left.eq(self.span.p.count), active.eq(1)]

    def _gather(self, m):
        """Several transfers in a word: turned so that each unit finds its column, and collected."""
        w, d, unit = self.words, self.transfers, self.granule
        active = Signal()
        left = Signal(COUNT_WIDTH)
        place = Signal(range(w))  # of the next transfer in its word
        turn = Signal(range(d))
        skip = Signal()  # that word belongs to no span
        ends = Signal()  # the transfer completes the word
        take, last = Signal(), Signal()
        turned = Signal(self.data_width)  # the transfer under way
        held, whole, skipped = Signal(), Signal(), Signal()
        beyond = Signal(range(w))  # where it begins
        word = Signal(w * unit)
        merged = Signal(w * unit)
        moves = Signal()
        start = self.span.p.start
        m.d.comb += [
            self.span.ready.eq(~active | (take & last)),
            moves.eq(~held | ~whole | skipped | self.o.ready),
            self.i.ready.eq(active & moves),
            take.eq(self.i.valid & self.i.ready),
            ends.eq(place + d >= w),
            last.eq(ends & ~skip & (left == 1)),
            self.o.valid.eq(held & whole & ~skipped),
            self.o.payload.eq(merged),
        ]
        with m.If(moves):
            m.d.sync += held.eq(take)
            m.d.sync += turned.eq(Cat(self.i.payload, self.i.payload) >> self._bits(turn))
            m.d.sync += [beyond.eq(place), whole.eq(ends), skipped.eq(skip)]
        with m.If(take):
            m.d.sync += place.eq(place + d)
            with m.If(ends):
                m.d.sync += [place.eq(place + d - w), turn.eq(turn + w), skip.eq(0)]
                with m.If(~skip):
                    m.d.sync += left.eq(left - 1)
            with m.If(last):
                m.d.sync += active.eq(0)
        with m.If(self.span.valid & self.span.ready):
            m.d.sync += [left.eq(self.span.p.count), active.eq(1), skip.eq(start != 0)]
            m.d.sync += place.eq(Mux(start == 0, 0, w - start))
            m.d.sync += turn.eq(Mux(start == 0, 0, start - w))

        columns = [turned[n * unit : n * unit + unit] for n in range(d)]
        for n in range(w):
            old, new = word[n * unit : n * unit + unit], merged[n * unit : n * unit + unit]
            always = n + 1 == 1 << len(beyond)
            m.d.comb += new.eq(columns[n % d] if always else Mux(n >= beyond, columns[n % d], old))
            with m.If(held & moves):
                m.d.sync += old.eq(new)
                if n < d:
                    with m.If(whole):
                        m.d.sync += old.eq(columns[(n + w) % d])
