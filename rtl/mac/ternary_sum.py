"""Sums of activations with ternary weights: additions and subtractions, no products."""

from amaranth import Cat, Const, Instance, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import delayed

__all__ = ["TERMS", "TernaryChain", "add_ternary", "masked", "sum_width", "ternary_sums"]

TERMS = 4  # activations in one stage: four carry chains, one behind the other

# Of a half of a CCU2C: A + 0, A + B, A - 1 (with a carry that makes it A), A - B.
ADDED = 0x956A
CARRY = 0x000A  # A is the carry


def sum_width(terms):
    """Bits of the sum of so many activations of 8 bits, each of them negated or not."""
    return 8 + terms.bit_length()


class TernaryChain(wiring.Component):
    """``o = start + w . x``, combinational, for ternary ``w``; the code -2 counts as 0.

    On a Lattice ECP5 each term is a carry chain whose LUTs choose between adding, subtracting and
    neither: a LUT4 for each bit, and one for the carry that a subtraction begins with.

    Parameters
    ----------
    terms : int, 1 to 64
    before : int, 0 to 1023
        Terms in ``start``; 0 where it is 0.

    Members
    -------
    start : In(signed)
    x : In(int8[terms])
    w : In(int2[terms])
    o : Out(signed)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, terms, before=0):
        check_range("terms", terms, 1, 64)
        check_range("before", before, 0, 1023)
        self.terms = terms
        self.before = before
        super().__init__(
            {
                "start": In(signed(sum_width(max(before, 1)))),
                "x": In(data.ArrayLayout(signed(8), terms)),
                "w": In(data.ArrayLayout(signed(2), terms)),
                "o": Out(signed(sum_width(before + terms))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        total = self.start if self.before else Const(0, signed(9))
        for number, (x, w) in enumerate(zip(self.x, self.w, strict=True), self.before + 1):
            new = Signal(signed(sum_width(number)), name=f"sum_{number}")
            add_ternary(m, platform, total, x, w, new)
            total = new
        m.d.comb += self.o.eq(total)
        return m


def add_ternary(m, platform, total, x, w, new):
    """``new = total + w * x`` for a ternary code ``w``, all others signed."""
    add = _carry_chain if str(getattr(platform, "family", "")) == "ecp5" else _adder
    add(m, total, x, w, new)


def _carry_chain(m, total, x, w, new):
    """``new = total + w * x`` by CCU2C, two bits each, behind the carry."""
    size = len(new)
    a = [w[1], *_bits(total, size)]
    b = [Const(0, 1), *_bits(x, size)]
    s, carry = Signal(size + 2, name="chain"), Const(0, 1)
    for low in range(0, size + 1, 2):
        ports = {"p_INJECT1_0": "NO", "p_INJECT1_1": "NO", "i_CIN": carry}
        for half in range(2):
            place = low + half
            inside = 0 < place <= size
            ports |= {
                f"p_INIT{half}": Const(ADDED if inside else CARRY, 16),
                f"i_A{half}": a[place] if place <= size else Const(0, 1),
                f"i_B{half}": b[place] if place <= size else Const(0, 1),
                f"i_C{half}": w[0] if inside else Const(1, 1),
                f"i_D{half}": w[1] if inside else Const(1, 1),
                f"o_S{half}": s[place],
            }
        carry = Signal(name="carry")
        m.submodules += Instance("CCU2C", **ports, o_COUT=carry)
    m.d.comb += new.eq(s[1 : size + 1])


def _adder(m, total, x, w, new):
    """The same by one adder, whose lowest place makes the carry that a subtraction begins with.

    The kept wire stops synthesis from a tree of carry-save adders.
    """
    term = Mux(w[0], x, 0) ^ w[1].replicate(len(x)).as_signed()
    both = Signal(signed(len(new) + 1), name="both", attrs={"keep": 1})
    ones, carried = Cat(Const(1, 1), total).as_signed(), Cat(w[1], term).as_signed()
    m.d.comb += [both.eq(ones + carried), new.eq(both >> 1)]


def _bits(value, size):
    """The bits of a signed value, its sign as often as it takes."""
    return [value[min(n, len(value) - 1)] for n in range(size)]


def ternary_sums(m, weights, mantissas):
    """The dot product of a row's ``weights`` and ``mantissas``, both from registers.

    Each stage of registers adds :data:`TERMS` more; the sum comes out of the last one.
    """
    pairs = list(zip(weights, mantissas, strict=True))
    total = Const(0, signed(9))
    for stage, first in enumerate(range(0, len(pairs), TERMS)):
        some = pairs[first : first + TERMS]
        chain = TernaryChain(len(some), first)
        m.submodules += chain
        if first:
            m.d.comb += chain.start.eq(total)
        for n, (w, x) in enumerate(some):
            m.d.comb += [
                chain.x[n].eq(delayed(m, x, stage, "activation")),
                chain.w[n].eq(delayed(m, w, stage, "weight")),
            ]
        total = delayed(m, chain.o, 1, "part", reset_less=True)
    return total


def masked(weights, mask):
    """Codes of the ``weights``, all of them of zero where ``mask`` is set: without bit 0, -2."""
    return [Cat(w[0] & ~mask, w[1]).as_signed() for w in weights]
