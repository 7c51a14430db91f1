"""Sums and products of several rows with one carry chain."""

from amaranth import Cat, Const, Mux, Shape, Signal

__all__ = ["carry_save_sum", "multiply_bits", "multiply_rows"]


def carry_save_sum(m, rows, width):
    """``sum(rows)`` modulo ``2**width``, as an unsigned signal.

    Three rows become two by full adders, without a carry chain, until two are left to be added. A
    row is a value of any shape.

    Raises
    ------
    ValueError
        If there are fewer than two rows.
    """
    if len(rows) < 2:
        raise ValueError(f"a sum needs at least 2 rows, not {len(rows)}")

    def kept(value):
        signal = Signal(width, name="row")
        m.d.comb += signal.eq(value)
        return signal

    rows = [kept(row) for row in rows]
    while len(rows) > 2:
        threes = [rows[n : n + 3] for n in range(0, len(rows) - 2, 3)]
        rows = rows[3 * len(threes) :]
        for a, b, c in threes:
            rows += [kept(a ^ b ^ c), kept((a & b | c & (a | b)) << 1)]
    return kept(rows[0] + rows[1])


def multiply_rows(m, a, b):
    """``a * b`` by rows, without a multiplier block, as a signal.

    ``a``, of three bits or more, or of two without a sign, is the shorter one; ``b`` is unsigned.
    """
    rows = [Mux(bit, b, 0) << n for n, bit in enumerate(a)]
    product = Signal(Shape(len(a) + len(b), a.shape().signed))
    if a.shape().signed:  # the last row counts negative: its complement, and 1
        rows[1] = rows[1] | 1
        rows[-1] = ~Cat(rows[-1], Const(0, 1)).as_signed()
    m.d.comb += product.eq(carry_save_sum(m, rows, len(product)))
    return product


def multiply_bits(m, value, bits):
    """``value * bits`` by rows, as a signed signal: a signed value times two or more bits."""
    rows = [Mux(bit, value, 0) << n for n, bit in enumerate(bits)]
    return carry_save_sum(m, rows, len(value) + len(bits)).as_signed()
