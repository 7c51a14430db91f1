"""Division by a constant: four bits a cycle, or from a table where the quotients are few."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_range

__all__ = ["ConstantDivider", "divided"]

DIGIT = 4  # bits of a quotient in a cycle


class ConstantDivider(wiring.Component):
    """``divmod(dividend, divisor)`` of what ``dividend`` is when ``start`` is high.

    Latency ``ceil(width / 4) + 1`` cycles.

    Parameters
    ----------
    width : int, 1 to 32
        Bits of a dividend.
    divisor : int, 1 to 1024

    Members
    -------
    start, dividend : In(1), In(unsigned(width))
    done : Out(1)
        Low from the cycle after ``start`` until both results are there; they stay.
    quotient, remainder : Out(unsigned)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, width, divisor):
        check_range("width", width, 1, 32)
        check_range("divisor", divisor, 1, 1024)
        self.width = width
        self.divisor = divisor
        super().__init__(
            {
                "start": In(1),
                "dividend": In(width),
                "done": Out(1, init=1),
                "quotient": Out(width),
                "remainder": Out(range(max(2, divisor))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        digits = -(-self.width // DIGIT)
        bits = Signal(DIGIT * digits)  # the dividend's, behind them the quotient's
        left = Signal(range(digits + 1))
        rest, quotient = self.remainder, []
        for bit in reversed(bits[-DIGIT:]):
            part, less = Cat(bit, rest), Signal.like(self.remainder, name="less")
            fits = Signal(name="fits")
            m.d.comb += [fits.eq(part >= self.divisor), less.eq(part - Mux(fits, self.divisor, 0))]
            quotient.append(fits)
            rest = less
        m.d.comb += self.quotient.eq(bits)
        with m.If(self.start):
            m.d.sync += [
                bits.eq(self.dividend),
                self.remainder.eq(0),
                left.eq(digits),
                self.done.eq(0),
            ]
        with m.Elif(~self.done):
            m.d.sync += [
                bits.eq(Cat(*reversed(quotient), bits)),
                self.remainder.eq(rest),
                left.eq(left - 1),
                self.done.eq(left == 1),
            ]
        return m


def divided(m, name, early, x, divisor, count):
    """Quotient and remainder of ``x`` by ``divisor``, where ``early`` was ``x`` a cycle before.

    Wires where ``divisor`` is a power of two, else a memory ``name`` of ``count`` numbers, the
    dividends below ``count``.
    """
    bits = divisor.bit_length() - 1
    if divisor == 1 << bits:
        return x >> bits, x & (divisor - 1)
    table = [divmod(n, divisor) for n in range(count)]
    row = data.StructLayout(
        {
            "quotient": unsigned(max(1, table[-1][0].bit_length())),
            "remainder": unsigned((divisor - 1).bit_length()),
        }
    )
    init = [{"quotient": quotient, "remainder": rest} for quotient, rest in table]
    m.submodules[name] = store = memory.Memory(shape=row, depth=max(2, count), init=init)
    read = store.read_port()
    m.d.comb += read.addr.eq(early)
    return read.data.quotient, read.data.remainder
