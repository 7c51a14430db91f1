"""The steps of keys, or of values, on chip."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.kv_cache.places import SLOT_WIDTH, cached_layout, start_of
from celosia.rtl.stream.checks import check_range

__all__ = ["KeySteps"]


class KeySteps(wiring.Component):
    """Steps of ``width`` bits, ``lanes * paths`` in a word, as :class:`CachePlaces` has them.

    A step is that of the head's word 0.

    Latency 3 cycles from a word to the first ``step_en`` that finds it. Throughput 1 word a cycle.

    Parameters
    ----------
    places : CachePlaces
    width : int, 1 to 9

    Members
    -------
    i : In(stream of cached_layout), always ready
    step_address, step_en, steps : In, In, Out(unsigned(width)[lanes * paths])
        Synchronous read: a cycle after ``step_en``, and kept while that is low.
    """

    def __init__(self, places, width=9):
        check_range("width", width, 1, 9)
        self.places = places
        self.width = width
        self.lanes = lanes = places.lanes
        self.slots = slots = lanes * places.paths  # in a word
        super().__init__(
            {
                "i": In(stream.Signature(cached_layout(lanes), always_ready=True)),
                "step_address": In(28),
                "step_en": In(1),
                "steps": Out(data.ArrayLayout(unsigned(width), slots)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        starts = self.places.step_blocks
        m.submodules.steps = steps = memory.Memory(
            shape=data.ArrayLayout(unsigned(self.width), self.slots), depth=starts[-1], init=[]
        )
        read, write = steps.read_port(), steps.write_port(granularity=1)
        lane_bits = self.slots.bit_length() - 1
        head, place, word = Signal(16), Signal(range(starts[-1])), self.i.p
        valid, later_valid = Signal(), Signal()
        slot, lane = Signal(SLOT_WIDTH), Signal(range(self.slots))
        step, later_step = Signal(self.width), Signal(self.width)
        m.d.sync += [
            valid.eq(self.i.valid & (word.word == 0)),
            head.eq(word.layer * self.places.n_kv_heads + word.head),
            slot.eq(word.slot),
            step.eq(word.step),
            later_valid.eq(valid),
            place.eq(start_of(head, starts, slot >> lane_bits)),
            lane.eq(slot & (self.slots - 1)),
            later_step.eq(step),
        ]
        m.d.comb += [
            read.addr.eq(self.step_address),
            read.en.eq(self.step_en),
            self.steps.eq(read.data),
            write.addr.eq(place),
        ]
        for n in range(self.slots):
            m.d.comb += write.data[n].eq(later_step)
            m.d.comb += write.en[n].eq(later_valid & (lane == n))
        return m
