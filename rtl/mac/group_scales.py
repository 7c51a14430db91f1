"""Weights with group scales: a group's scale and offset ride in its words, and leave with each."""

from dataclasses import dataclass

from amaranth import Cat, Const, Module, Signal, signed, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.quantization.group_quantize import OFFSET_WIDTH, SCALE_WIDTH
from celosia.rtl.stream.checks import check_range

__all__ = ["GroupFormat", "GroupScales", "grouped_word", "parameter_layout", "weights_layout"]


@dataclass(frozen=True)
class GroupFormat:
    """How groups lie on the tape.

    Parameters
    ----------
    weight_width : int, 2 to 8
        Bits of a code.
    shortest, longest : int
        Words of the smallest and of the largest group, 1 to 128.
    offsets : bool
        Groups have an offset beside their scale.
    offset_width : int, 8 to 12
        Bits of an offset on the tape, the highest of 12; 12 with ``planes``.
    planes : bool
        Some matrices have codes of twice as many bits, in two words: first the upper halves,
        then the lower ones less ``2**(weight_width - 1)``, for which their offsets make up.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    weight_width: int
    shortest: int
    longest: int
    offsets: bool
    planes: bool = False
    offset_width: int = OFFSET_WIDTH

    def __post_init__(self):
        check_range("weight_width", self.weight_width, 2, 8)
        check_range("shortest", self.shortest, 1, 128)
        check_range("longest", self.longest, self.shortest, 128)
        least = OFFSET_WIDTH if self.planes else 8
        check_range("offset_width", self.offset_width, least, OFFSET_WIDTH)

    @property
    def parameter_width(self):
        """Bits of a row's scale and offset."""
        return SCALE_WIDTH + (self.offset_width if self.offsets else 0)

    @property
    def part_width(self):
        """Bits of them that ride in a word."""
        return -(-self.parameter_width // self.shortest)

    @property
    def parts(self):
        """Words at a group's end in which they ride."""
        return -(-self.parameter_width // self.part_width)

    @property
    def scale_width(self):
        """Bits of a scale as the fabric sees it: an upper plane's is shifted by the lower's."""
        return SCALE_WIDTH + (self.weight_width if self.planes else 0)


def parameter_layout(groups, scale_width=None):
    """A row's ``scale`` as the fabric sees it and, where ``groups`` have one, its ``offset``."""
    members = {"scale": unsigned(scale_width or groups.scale_width)}
    if groups.offsets:
        members["offset"] = signed(OFFSET_WIDTH)
    return data.StructLayout(members)


def grouped_word(rows, lanes, groups):
    """A word of the tape: ``weights``, each row's ``parts``, ``last`` at the group's end."""
    return data.StructLayout(
        {
            "weights": data.ArrayLayout(data.ArrayLayout(signed(groups.weight_width), lanes), rows),
            "parts": data.ArrayLayout(unsigned(groups.part_width), rows),
            "last": 1,
        }
    )


def weights_layout(rows, lanes, groups):
    """``weights`` int[rows, lanes] and their ``parameters``."""
    return data.StructLayout(
        {
            "weights": data.ArrayLayout(data.ArrayLayout(signed(groups.weight_width), lanes), rows),
            "parameters": data.ArrayLayout(parameter_layout(groups, SCALE_WIDTH), rows),
        }
    )


class GroupScales(wiring.Component):
    """Holds a group's words until its parameters are complete, then lets them go with these.

    A row's parameters, scale first, ride in the last ``groups.parts`` words of its group, lowest
    bits first.

    Latency the group's words + 2 cycles from a group's first word to itself. Throughput 1 word per
    cycle.

    Parameters
    ----------
    rows : int, 1 to 1024
    lanes : int, 1 to 64
    groups : GroupFormat

    Members
    -------
    i : In(stream of grouped_word)
        Whole groups, of ``groups.shortest`` to ``groups.longest`` words.
    o : Out(stream of weights_layout)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, rows, lanes, groups):
        check_range("rows", rows, 1, 1024)
        check_range("lanes", lanes, 1, 64)
        self.rows = rows
        self.lanes = lanes
        self.groups = groups
        self.depth = 2 * groups.longest + 2
        super().__init__(
            {
                "i": In(stream.Signature(grouped_word(rows, lanes, groups))),
                "o": Out(stream.Signature(weights_layout(rows, lanes, groups))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        groups, weights = self.groups, self.i.p.weights.as_value()
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=len(weights) + 1, depth=self.depth)
        held = self.depth // groups.shortest + 1
        m.submodules.parameters = parameters = fifo.SyncFIFOBuffered(
            width=self.rows * groups.parameter_width, depth=held
        )
        room = words.w_rdy & parameters.w_rdy
        taken = Signal()
        m.d.comb += [
            self.i.ready.eq(room),
            taken.eq(self.i.valid & room),
            words.w_en.eq(taken),
            words.w_data.eq(Cat(weights, self.i.p.last)),
            parameters.w_en.eq(taken & self.i.p.last),
        ]
        kept = (groups.parts - 1) * groups.part_width  # bits of the words before
        for row in range(self.rows):
            gathered = self.i.p.parts[row]
            if kept:
                before = Signal(kept, name=f"before_{row}")
                gathered = Cat(before, gathered)
                with m.If(taken):
                    m.d.sync += before.eq(gathered[groups.part_width :])
            width = groups.parameter_width
            m.d.comb += parameters.w_data[row * width : (row + 1) * width].eq(gathered)

        moved = Signal()
        m.d.comb += [
            self.o.valid.eq(words.r_rdy & parameters.r_rdy),
            self.o.p.weights.as_value().eq(words.r_data),
            self.o.p.parameters.as_value().eq(self._whole(parameters.r_data)),
            moved.eq(self.o.valid & self.o.ready),
            words.r_en.eq(moved),
            parameters.r_en.eq(moved & words.r_data[-1]),
        ]
        return m

    def _whole(self, parameters):
        """Each row's scale, and its offset in all its bits."""
        groups = self.groups
        if not groups.offsets or groups.offset_width == OFFSET_WIDTH:
            return parameters
        low = Const(0, OFFSET_WIDTH - groups.offset_width)
        rows = (parameters.word_select(n, groups.parameter_width) for n in range(self.rows))
        return Cat(Cat(row[:SCALE_WIDTH], low, row[SCALE_WIDTH:]) for row in rows)
