"""The tape: a memory read in long runs, so that its address is a counter."""

from amaranth import Const, Module, ShapeCastable, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for
from celosia.rtl.stream.checks import check_range

__all__ = ["Tape", "run_layout"]

ADDRESS_WIDTH = 28
SLICE = 144  # bits of a word that are read together: 16 memories of 9 bits


def run_layout():
    """A run of ``count`` words, at least 1, from ``address`` on."""
    return data.StructLayout({"address": unsigned(ADDRESS_WIDTH), "count": unsigned(ADDRESS_WIDTH)})


class Tape(wiring.Component):
    """``o`` delivers ``words[address : address + count]`` for each run asked for, in order.

    Latency 2 cycles from a run's acceptance to its first word. Throughput 1 word per cycle within
    a run and from one run to the next.

    Parameters
    ----------
    shape : shape-like
        Of one word.
    words : list of 1 to 2**28
        The memory's contents: initial values of ``shape``, or the bits of a word as an int.

    Members
    -------
    run : In(stream of run_layout)
        ``count`` is at least 1, ``address + count`` at most the number of words.
    o : Out(stream of shape)

    Raises
    ------
    ValueError
        If there are no words, or too many.
    """

    def __init__(self, shape, words):
        check_range("len(words)", len(words), 1, 1 << ADDRESS_WIDTH)
        self.shape = shape
        self.words = words
        super().__init__(
            {"run": In(stream.Signature(run_layout())), "o": Out(stream.Signature(shape))}
        )

    def elaborate(self, platform):
        m = Module()
        run = self.run.p
        left = Signal(bits_for(len(self.words)))  # words of the run, with this one
        active, final = Signal(), Signal()  # left is not 0, is 1
        advance, accepted = Signal(), Signal()
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            self.run.ready.eq(~active | (advance & final)),
            accepted.eq(self.run.valid & self.run.ready),
        ]
        with m.If(advance):
            m.d.sync += [
                left.eq(left - 1),
                active.eq(active & ~final),
                final.eq(left == 2),
            ]
        with m.If(accepted):
            m.d.sync += [left.eq(run.count), active.eq(1), final.eq(run.count == 1)]
        words = [self._bits(word) for word in self.words]
        payload = Value.cast(self.o.payload)
        for low in range(0, len(payload), SLICE):
            self._slice(m, words, low, payload[low : low + SLICE], active, accepted)
        return m

    def _slice(self, m, words, low, part, active, accepted):
        """A part of all words, and what it is read by, near it: wide words lie all over a chip."""
        init = [word >> low & (1 << len(part)) - 1 for word in words]
        store = memory.Memory(shape=unsigned(len(part)), depth=len(words), init=init)
        m.submodules[f"memory_{low}"] = store
        read = store.read_port()
        address = Signal(ADDRESS_WIDTH, name=f"copy_address_{low}")
        valid = Signal(name=f"copy_valid_{low}") if low else self.o.valid
        m.d.comb += [
            read.en.eq(self.o.ready | ~valid),
            read.addr.eq(address),
            part.eq(read.data),
        ]
        with m.If(read.en):
            m.d.sync += [valid.eq(active), address.eq(address + 1)]
        with m.If(accepted):
            m.d.sync += address.eq(self.run.p.address)

    def _bits(self, word):
        if isinstance(word, int) or not isinstance(self.shape, ShapeCastable):
            return word
        return Const.cast(self.shape.const(word)).value
