"""The host link's commands for external memory: loading, and asking what is there."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.rtl.memory.sdram_bursts import read_layout, write_layout

__all__ = ["MemoryPayload", "memory_port"]

ADDRESS = 4  # bytes before the data
WORDS = 128


def memory_port():
    """The external memory's side: ``write``, ``check``, ``checksum``, and ``holds``.

    ``holds`` is high when the memory is known to hold the tape; a run without is refused. The
    others are those of :class:`MemoryPayload`.
    """
    return wiring.Signature(
        {
            "write": Out(stream.Signature(write_layout())),
            "check": Out(stream.Signature(read_layout())),
            "checksum": In(stream.Signature(unsigned(32))),
            "holds": In(1),
        }
    )


class MemoryPayload(wiring.Component):
    """Reads a payload byte by byte, both as a load's and as a check's, and carries one out.

    The results hold 2 cycles after the last byte, until ``clear``. Words are written one in 3
    cycles or more; a check is as fast as the memory.

    Parameters
    ----------
    size : int, even
        Bytes of the memory.

    Members
    -------
    data : In(stream of unsigned(8), always ready)
    clear : In(1)
        Begin a new payload.
    load_empty, load_unfit : Out(1)
        A load has no data; its address is odd, or it ends beyond the memory.
    check_empty, check_unfit : Out(1)
        Likewise for a check, whose length must be even, too.
    go_load, go_check : In(1)
        Carry it out; high until ``done``.
    done : Out(1)
    write : Out(stream of write_layout)
        Words of 16 bits.
    check : Out(stream of read_layout)
        The words to be summed up.
    checksum : In(stream of unsigned(32))
        Their CRC-32; taken when a check is done.
    """

    data: In(stream.Signature(8, always_ready=True))
    clear: In(1)
    load_empty: Out(1)
    load_unfit: Out(1)
    check_empty: Out(1)
    check_unfit: Out(1)
    go_load: In(1)
    go_check: In(1)
    done: Out(1)
    write: Out(stream.Signature(write_layout()))
    check: Out(stream.Signature(read_layout()))
    checksum: In(stream.Signature(unsigned(32)))

    def __init__(self, size):
        self.size = size
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Memory(shape=unsigned(16), depth=WORDS, init=[])
        store, fetch = words.write_port(granularity=8), words.read_port()
        place = Signal(8)  # bytes seen
        numbers = Signal(64)  # the first eight bytes
        address, length = numbers[:32], numbers[32:]
        load_end, check_end = Signal(33), Signal(33)
        m.d.comb += [
            store.addr.eq((place - ADDRESS)[1:]),
            store.data.eq(self.data.payload.replicate(2)),
            self.load_empty.eq(place <= ADDRESS),
            self.load_unfit.eq(address[0] | (load_end > self.size)),
            self.check_empty.eq(length == 0),
            self.check_unfit.eq(address[0] | length[0] | (check_end > self.size)),
        ]
        m.d.sync += [load_end.eq(address + place - ADDRESS), check_end.eq(address + length)]
        with m.If(self.data.valid):
            m.d.sync += place.eq(place + 1)
            m.d.comb += store.en.bit_select(place[0], 1).eq(1)
            with m.If(place < 8):
                m.d.sync += numbers.word_select(place[:3], 8).eq(self.data.payload)

        sent = Signal(7)
        shown = Signal()  # the word that is read is that of ``sent``
        m.d.comb += [
            fetch.en.eq(1),
            fetch.addr.eq(sent),
            self.write.p.address.eq(address[1:]),
            self.write.p.data.eq(fetch.data),
            self.write.valid.eq(self.go_load & shown),
            self.check.p.address.eq(address[1:]),
            self.check.p.count.eq(length[1:]),
        ]
        m.d.sync += shown.eq(self.go_load)
        with m.If(self.write.valid & self.write.ready):
            m.d.sync += [address.eq(address + 2), sent.eq(sent + 1), shown.eq(0)]
            m.d.comb += self.done.eq(sent == (place - ADDRESS - 1)[1:])
        asked = Signal()
        m.d.comb += [
            self.check.valid.eq(self.go_check & ~asked),
            self.checksum.ready.eq(self.go_check & asked),
        ]
        with m.If(self.check.valid & self.check.ready):
            m.d.sync += asked.eq(1)
        with m.If(self.checksum.valid & self.checksum.ready):
            m.d.sync += asked.eq(0)
            m.d.comb += self.done.eq(1)
        with m.If(self.clear):
            m.d.sync += [place.eq(0), sent.eq(0), numbers.eq(0)]
        return m
