"""A cache's memory: keys or values in 8 or 4 bits, each vector with its scale, by slot."""

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2
from celosia.rtl.quantize.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.stream.buffer import Skid
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.words import framed

__all__ = ["Access", "KvStore"]


class Access(enum.Enum, shape=unsigned(2)):
    """What is done with a slot."""

    WRITE = 0
    READ = 1
    COPY = 2


class KvStore(wiring.Component):
    """Vectors in ``n_slots`` slots, quantised as they are written, each with a scale of its own.

    Slots are those of a controller's answers: WRITE what APPEND gave, READ what READ gave, and
    COPY, with its status COPY, the slots of the block. Commands are worked on in order. Equal to
    :class:`celosia.reference.units.kv_store.KvStore`; quantised as by :class:`DynamicQuantizer`.

    Latency 2 cycles from READ to its first word. Throughput 1 word per cycle, without a gap between
    commands, but for two cycles after COPY.

    Parameters
    ----------
    n_slots : int, 1 to 2**20
    lanes : int, a power of two from 1 to 64
    words : int, a power of two from 1 to 256
        Of a vector.
    width : int, 2 to 8
    x_width : int, 8 to 18

    Members
    -------
    command : In(stream of {access: Access, slot: unsigned, source: unsigned})
        ``source`` is what COPY copies.
    i : In(stream of framed(lanes, x_width))
        Vectors in the order of their WRITEs, ``last`` with each one's last word.
    o : Out(stream of framed(lanes, signed(width), scale=unsigned))
        ``last`` with each vector's last word. What was never written is undefined.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 2

    def __init__(self, n_slots, lanes, words, width=8, x_width=16):
        check_range("n_slots", n_slots, 1, 1 << 20)
        check_power_of_two("words", words, 256)
        self._quantizer = DynamicQuantizer(lanes, words, x_width, width)
        self.n_slots = n_slots
        self.lanes = lanes
        self.words = words
        self.width = width
        self.x_width = x_width
        slot = unsigned(max(1, ceil_log2(n_slots)))
        command = data.StructLayout({"access": Access, "slot": slot, "source": slot})
        super().__init__(
            {
                "command": In(stream.Signature(command)),
                "i": In(stream.Signature(framed(lanes, x_width))),
                "o": Out(stream.Signature(self._quantizer.o.p.shape())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.quantizer = quantizer = self._quantizer
        wiring.connect(m, wiring.flipped(self.i), quantizer.i)
        m.submodules.quantized = quantized = Skid(quantizer.o.p.shape())
        wiring.connect(m, quantizer.o, quantized.i)
        scale = quantized.o.p.scale.shape()
        row = data.ArrayLayout(signed(self.width), self.lanes)
        m.submodules.vectors = vectors = memory.Memory(
            shape=row, depth=max(2, self.n_slots * self.words), init=[]
        )
        m.submodules.scales = scales = memory.Memory(
            shape=scale, depth=max(2, self.n_slots), init=[]
        )
        ports = [(store.read_port(), store.write_port()) for store in (vectors, scales)]
        (vector, vector_write), (kept, kept_write) = ports

        order, busy, done = Signal.like(self.command.p), Signal(), Signal()
        index = Signal(exact_log2(self.words))
        advance, step, hold = Signal(), Signal(), Signal()
        writing = busy & (order.access == Access.WRITE)
        reading = busy & ~writing
        place = Signal(data.StructLayout({"index": index.shape(), "slot": order.slot.shape()}))
        found, copying, moving = Signal(), Signal(), Signal()  # what is read is offered, or written
        m.d.comb += [
            advance.eq(~found | self.o.ready),
            hold.eq((copying | moving) & (index == 0)),  # the copy before is still being written
            quantized.o.ready.eq(writing & ~hold),
            step.eq(~hold & Mux(writing, quantized.o.valid, reading & advance)),
            done.eq(step & (index == self.words - 1)),
            self.command.ready.eq(~busy | done),
        ]
        with m.If(step):
            m.d.sync += index.eq(index + 1)
        with m.If(self.command.ready):
            m.d.sync += [busy.eq(self.command.valid), order.eq(self.command.p)]

        # A read takes a cycle; then it is an offer, or in one more cycle the write of a copy.
        copy = order.access == Access.COPY
        source = Mux(copy, order.source, order.slot)
        m.d.comb += [
            vector.addr.eq(Cat(index, source)),
            kept.addr.eq(source),
            vector.en.eq(advance),
            kept.en.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += [
                found.eq(reading & step & ~copy),
                copying.eq(reading & step & copy),
                place.index.eq(index),
                place.slot.eq(order.slot),
            ]
        moved, moved_scale, target = (
            Signal.like(value) for value in (vector.data, kept.data, place)
        )
        m.d.sync += [
            moving.eq(copying),
            target.eq(place),
            moved.eq(vector.data),
            moved_scale.eq(kept.data),
        ]
        m.d.comb += [
            vector_write.addr.eq(
                Mux(moving, Cat(target.index, target.slot), Cat(index, order.slot))
            ),
            vector_write.data.eq(Mux(moving, moved, quantized.o.p.data)),
            vector_write.en.eq(moving | (writing & step)),
            kept_write.addr.eq(Mux(moving, target.slot, order.slot)),
            kept_write.data.eq(Mux(moving, moved_scale, quantized.o.p.scale)),
            kept_write.en.eq(vector_write.en),
            self.o.valid.eq(found),
            self.o.p.data.eq(vector.data),
            self.o.p.scale.eq(kept.data),
            self.o.p.index.eq(place.index),
            self.o.p.last.eq(place.index == self.words - 1),
        ]
        return m
