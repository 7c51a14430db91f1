"""The share of a value that an activation lets pass, as register stages of a pipeline."""

from amaranth import Cat, Const, Mux, Signal, unsigned
from celosia.reference.functions.tables import GATING_REACH, gating_table
from celosia.rtl.functions.interpolate import interpolate

__all__ = ["gating"]


def gating(m, pipe, values, left, activation, carried):
    """:func:`celosia.reference.functions.functions.gating` of ``values << left``, 4 stages, and
    ``carried``.

    Parameters
    ----------
    values : list of signed values
        Each of more bits than the table's place has.
    left : int, 0 to 12
    activation : str
        Of :data:`celosia.reference.functions.tables.GATING_REACH`.
    carried : list of values
        To be delayed by the same stages.

    Returns
    -------
    list of Signal(unsigned(17)), list of Signal
        In units of 2**-16, from the last stage's registers; and ``carried``.
    """
    reach = 12 + GATING_REACH[activation]
    inside = reach - left  # bits of a magnitude in the table
    places, signs = [], []
    for value in values:
        magnitude = Signal(unsigned(len(value)))
        negative, rest = value[-1], value[:-1]
        m.d.comb += magnitude.eq(Mux(negative, -value, value))
        # At least 2**inside, said without waiting for the sum.
        beyond = (rest[inside:] ^ negative.replicate(len(rest) - inside)).any()
        beyond = beyond | (negative & ~rest[:inside].any())
        places.append(Cat(Const(0, left), magnitude[:inside]) if left else magnitude[:inside])
        signs.append(Cat(beyond, negative))
    table = gating_table(activation)
    values, carried = interpolate(m, pipe, table, reach - 9, places, [signs, *carried])
    values, signs, *carried = pipe.stage(values, *carried)
    shares = []
    for value, sign in zip(values, signs, strict=True):
        beyond, negative = sign
        y = Signal(17)
        right = Mux(beyond, 1 << 16, value)
        m.d.comb += y.eq(Mux(negative, (1 << 16) - right, right))
        shares.append(y)
    return shares, carried
