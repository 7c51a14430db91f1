"""Functions by tables of straight segments, as register stages of a pipeline."""

from amaranth import Cat, Const, Mux, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.utils import exact_log2
from celosia.rtl.arithmetic.carry_save import carry_save_sum
from celosia.rtl.arithmetic.multiplier import multiply_registered

__all__ = ["interpolate", "normalize"]


def interpolate(
    m, pipe, table, bits, places, carried, shift=None, width=None, multiplier_blocks=False
):
    """``base[segment] + round(step[segment] * fraction / 2**shift)`` for each of ``places``.

    Rounds half up. Three register stages: the table's memory, one for each of ``places``, what it
    gave (memories are slow), and the product in two parts. The sum is left to the caller to
    register.

    Parameters
    ----------
    table : pair of int sequences
        Bases (not negative) and steps, of :func:`celosia.reference.functions.tables.interpolation`;
        a power of two of them.
    bits : int
        Width of the fraction.
    places : list of unsigned values
        Segment and, in the low ``bits``, fraction.
    carried : list of values
        To be delayed by the same stages.
    shift : int, 1 to ``bits``, optional
        ``bits`` by default.
    width : int, optional
        Bits of the function's values; by default those of the largest base.
    multiplier_blocks : bool
        Whether the products are those of the chip's multipliers, one for each of ``places``, or
        made of LUTs.

    Returns
    -------
    list of Signal(unsigned), list of Signal
        The function's values and ``carried``.
    """
    base, step = ([int(x) for x in column] for column in table)
    shift = bits if shift is None else shift
    base_width = max(base).bit_length() if width is None else width
    step_width = max(max(x, -x - 1).bit_length() for x in step) + 1
    shape = data.StructLayout({"base": unsigned(base_width), "step": signed(step_width)})
    init = [{"base": b, "step": s} for b, s in zip(base, step, strict=True)]
    segments = []
    for place in places:
        m.submodules += (memory := Memory(shape=shape, depth=len(init), init=init))
        port = memory.read_port()
        segment = place[bits : bits + exact_log2(len(init))]
        m.d.comb += [port.en.eq(pipe.advance), port.addr.eq(segment)]
        segments.append(port.data)
    fractions, carried = pipe.stage([place[:bits] for place in places], carried)
    if multiplier_blocks:  # they bring the registers of two stages
        products = [
            [multiply_registered(m, s.step, f, pipe.advance)]
            for s, f in zip(segments, fractions, strict=True)
        ]
        offsets, carried = pipe.stage([s.base for s in segments], carried)
        offsets, carried = pipe.stage(offsets, carried)
    else:
        segments, fractions, carried = pipe.stage(segments, fractions, carried)
        products = [_product(m, s.step, f) for s, f in zip(segments, fractions, strict=True)]
        products, offsets, carried = pipe.stage(products, [s.base for s in segments], carried)
    half = Const(1 << (shift - 1), shift)
    values = []
    for product, offset in zip(products, offsets, strict=True):
        value = Signal(base_width)
        total = carry_save_sum(m, [Cat(half, offset), *product], base_width + shift)
        m.d.comb += value.eq(total >> shift)
        values.append(value)
    return values, carried


def _product(m, step, fraction):
    """``step * fraction`` as the sum of two."""
    rows = [Mux(bit, step, 0) << n for n, bit in enumerate(fraction)]
    middle, width = len(rows) // 2, len(step) + len(fraction)
    if middle < 2:
        return [sum(rows)]
    return [carry_save_sum(m, part, width).as_signed() for part in (rows[:middle], rows[middle:])]


def normalize(m, x, shift, unit):
    """The 16 leading bits of ``x / 2**(unit * shift)``, as a signal; ``x`` is below that power."""
    bits = (-(-len(x) // unit)).bit_length()
    length = unit * ((1 << bits) - 1)  # the shift to there is the other bits of ``shift``
    aligned = Signal(max(length, 16))
    empty = Const(0, max(16 - length, 0))
    m.d.comb += aligned.eq(Cat(empty, x << Cat(Const(0, unit - 1), ~shift[:bits])))
    return aligned[-16:]
