"""Row scales in the order of the results: from their tape, or for scores from the keys' steps."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.units.head_quantize import STEP_SHIFT
from celosia.rtl.machine.step import scales_layout
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.words import INDEX_WIDTH

__all__ = ["RowScales"]


class RowScales(wiring.Component):
    """For each operation ``chunks`` words of ``lanes`` row scales.

    From the tape; where it asks for ``steps``, the keys' steps times 2**7 from ``address`` on, and
    nothing of the tape; where it is ``single``, one tape word's ``lane`` in all lanes of all words.
    With ``value_steps``, those of the keys' slots stand below the keys' steps. With ``paths`` words
    go on with the steps of the slots behind, which other words do not need.

    Latency 2 cycles from an operation to its first word. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    value_steps : bool
    paths : int, 1 to 64

    Members
    -------
    i : In(stream of scales_layout)
        ``chunks`` is at least 1, ``lane`` below ``lanes``; not both ``steps`` and ``single``.
    tape : In(stream of uint16[lanes])
    address, read_en, steps : Out, Out, In(unsigned(9)[lanes * paths])
        The key cache's steps: ``steps`` shows them a cycle after ``read_en``, and keeps them while
        that is low.
    value_steps : In(unsigned(7)[lanes])
        Likewise, where there are any.
    o : Out(stream of uint16[lanes * paths])

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, value_steps=False, paths=1):
        check_range("lanes", lanes, 1, 64)
        check_range("paths", paths, 1, 64)
        self.lanes = lanes
        self.paths = paths
        more = {"value_steps": In(data.ArrayLayout(unsigned(STEP_SHIFT), lanes))}
        word = data.ArrayLayout(unsigned(16), lanes)
        super().__init__(
            {
                "i": In(stream.Signature(scales_layout())),
                "tape": In(stream.Signature(word)),
                "address": Out(INDEX_WIDTH),
                "read_en": Out(1),
                "steps": In(data.ArrayLayout(unsigned(9), lanes * paths)),
                **(more if value_steps else {}),
                "o": Out(stream.Signature(data.ArrayLayout(unsigned(16), lanes * paths))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        advance = Signal()
        active = Signal()
        left = Signal(INDEX_WIDTH)
        last = Signal()  # left is 1
        operation = Signal(scales_layout())
        held = Signal()
        word = Signal(data.StructLayout({"steps": 1, "single": 1, "lane": 6, "last": 1}))
        m.d.comb += [
            advance.eq(~held | (self.o.valid & self.o.ready)),
            self.read_en.eq(advance),
            self.address.eq(operation.address),
            self.i.ready.eq(~active | (advance & last)),
        ]
        with m.If(advance):
            m.d.sync += held.eq(active)
            with m.If(active):
                m.d.sync += [
                    word.steps.eq(operation.steps),
                    word.single.eq(operation.single),
                    word.lane.eq(operation.lane),
                    word.last.eq(last),
                    operation.address.eq(operation.address + 1),
                    left.eq(left - 1),
                    last.eq(left == 2),
                    active.eq(~last),
                ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                operation.eq(self.i.p),
                left.eq(self.i.p.chunks),
                last.eq(self.i.p.chunks == 1),
                active.eq(1),
            ]

        steps, single = word.steps, word.single
        chosen = Signal(16)
        m.d.comb += [
            self.o.valid.eq(held & (steps | self.tape.valid)),
            self.tape.ready.eq(held & self.o.ready & ~steps & (~single | word.last)),
            chosen.eq(self.tape.payload[word.lane]),
        ]
        for lane in range(self.lanes):
            with m.If(steps):
                m.d.comb += self.o.payload[lane].eq(self.steps[lane] << STEP_SHIFT)
                if hasattr(self, "value_steps"):
                    m.d.comb += self.o.payload[lane][:STEP_SHIFT].eq(self.value_steps[lane])
            with m.Elif(single):
                m.d.comb += self.o.payload[lane].eq(chosen)
            with m.Else():
                m.d.comb += self.o.payload[lane].eq(self.tape.payload[lane])
        for lane in range(self.lanes, self.lanes * self.paths):
            m.d.comb += self.o.payload[lane].eq(self.steps[lane] << STEP_SHIFT)
        return m
