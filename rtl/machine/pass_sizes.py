"""What the sequencer divides: rows of tables, and the pieces of the positions that a pass sees."""

from amaranth import Array, Cat, Mux, Signal
from amaranth.utils import exact_log2
from celosia.rtl.arithmetic.division import ConstantDivider

__all__ = ["count_pieces", "divide_row", "in_view", "row_number"]

# Each takes the sequencer whose module ``m`` it adds to.


def row_number(m, sequencer, which, place):
    """The row of its table that a load brings: the token, or its position."""
    number = Signal(20)
    with m.Switch(which):
        for n, load in enumerate(sequencer.program.loads):
            with m.Case(n):
                position = sequencer.position + (place if sequencer.tokens > 1 else 0) + load.offset
                m.d.comb += number.eq(position if load.position else sequencer.load.payload)
    return number


def divide_row(m, sequencer, number, loading):
    """The row's tile and its place there, and whether they are known."""
    rows = sequencer.cached_rows if sequencer.wide else sequencer.rows
    rows, lane_bits, chunks = _rows(rows, sequencer.lanes)
    if chunks is None:
        return number >> exact_log2(rows), number & (rows - 1), 1
    m.submodules.row_divider = divider = ConstantDivider(20 - lane_bits, chunks)
    asked = Signal()
    m.d.comb += [
        divider.dividend.eq(number >> lane_bits),
        divider.start.eq(sequencer.load.valid & ~asked & ~loading),
    ]
    m.d.sync += asked.eq((asked | divider.start) & ~loading)
    row = Cat(number[:lane_bits], divider.remainder)
    return divider.quotient, row, asked & divider.done


def count_pieces(m, sequencer):
    """Words of values and tiles of positions seen at the pass's end, and whether they are known."""
    seen = Signal(21)
    blocks, tiles = Signal(20), Signal(20)  # known before the first step
    rows, _, chunks = _rows(sequencer.cached_rows, sequencer.lanes)
    m.d.comb += seen.eq(sequencer.position + sequencer.group + 1)
    piece = sequencer.lanes * sequencer.parts
    m.d.sync += blocks.eq((seen + piece - 1) >> exact_log2(piece))
    if chunks is None:
        m.d.sync += tiles.eq((seen + rows - 1) >> exact_log2(rows))
        return (blocks, tiles), 1
    chunks //= sequencer.parts
    m.submodules.tile_divider = divider = ConstantDivider(21, chunks)
    begun = Signal(2)  # a pass: its position, its blocks are there
    m.d.sync += begun.eq(Cat(sequencer.run.valid & sequencer.run.ready, begun[0]))
    m.d.comb += [
        divider.dividend.eq(blocks + (chunks - 1)),
        divider.start.eq(begun[1]),
        tiles.eq(divider.quotient),
    ]
    return (blocks, tiles), (begun == 0) & divider.done


def _rows(rows, lanes):
    """Rows of a tile, bits of a lane's number, and the chunks of a tile; None for wires."""
    return rows, exact_log2(lanes), rows // lanes if rows & (rows - 1) else None


def in_view(m, views, step, count, size):
    """Of ``count`` pieces of ``size`` positions those that the step's slots hold."""
    limited = []
    for view in views:
        limit = count
        if view.wraps:
            most = view.slots // size
            limit = Signal(range(most + 1))
            m.d.sync += limit.eq(Mux(count > most, most, count))
        limited.append(limit)
    return Array(limited)[step.view] if len(limited) > 1 else [*limited, count][0]
