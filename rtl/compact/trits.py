"""Five ternary weights out of a byte, in a little logic."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.compact.trits import BOTH, ESCAPE, TRITS

__all__ = ["Trits"]

DIGITS = Const(0, 2), Const(1, 2), Const(3, 2)  # by their numbers: 0, 1, -1


class Trits(wiring.Component):
    """The digits that :func:`celosia.reference.compact.trits.pack` packed. Combinational.

    31 LUT4 of an iCE40. Bytes that are no such have any digits.

    Members
    -------
    i : In(unsigned(8))
    o : Out(int2[5])
    """

    i: In(unsigned(8))
    o: Out(data.ArrayLayout(signed(2), TRITS))

    def elaborate(self, platform):
        m = Module()
        one, two = self._pair(m, "one", self.i[2:5]), self._pair(m, "two", self.i[5:8])
        both = [DIGITS[BOTH // 3], DIGITS[BOTH % 3]]
        digits = Signal(2 * TRITS)
        m.d.comb += [digits.eq(Cat(Mux(self.i[:2] == 2, 3, self.i[:2]), *one, *two))]
        with m.If(self.i[:2] == ESCAPE), m.Switch(two[0]):
            with m.Case(DIGITS[0]):
                m.d.comb += digits.eq(Cat(two[1], *one, *both))
            with m.Case(DIGITS[1]):
                m.d.comb += digits.eq(Cat(two[1], *both, *one))
            with m.Default():
                m.d.comb += digits.eq(Cat(one[1], *both, *both))
        m.d.comb += self.o.as_value().eq(digits)
        return m

    def _pair(self, m, name, number):
        """Both digits of a pair's ``number``, 0 to 7."""
        digits = [Signal(2, name=f"{name}_{n}") for n in range(2)]
        with m.Switch(number):
            for value in range(BOTH):
                with m.Case(value):
                    m.d.comb += [digits[0].eq(DIGITS[value // 3]), digits[1].eq(DIGITS[value % 3])]
        return digits
