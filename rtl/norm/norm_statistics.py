"""The statistics of a LayerNorm, gathered while its vector passes."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.rtl.functions.rsqrt import Rsqrt
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, delayed

__all__ = ["NormStatistics", "multiple"]

FAN_IN = 4  # values added in one stage
SPLIT = 16  # low bits of a sum, squared on their own


class NormStatistics(wiring.Component):
    """``sum(x)`` and ``1 / sqrt(n sum(x**2) - sum(x)**2 + epsilon)`` of each vector.

    Exact up to the square root. Bit-exact with
    :func:`celosia.reference.units.layer_norm.layer_norm`.

    Not one with :class:`celosia.rtl.norm.sum_of_squares.SumOfSquares`, which has no multipliers but
    counts 12 bits of a value: here they would cancel where the mean exceeds the deviation.

    Latency :attr:`latency`, 10 to 13 cycles, from a vector's last word. Throughput 1 word per
    cycle.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    words : int, 1 to 4096
        ``n = lanes * words`` is from 2 to 16384.
    width : int, 4 to 18
    epsilon : int, 1 or more
        ``n**2 * 4**(width - 1) + epsilon`` must be below ``2**62``.

    Members
    -------
    i : In(stream of {data: signed(width)[lanes], first: 1, final: 1}, always ready)
        ``first`` and ``final`` mark a vector's ends.
    o : Out(stream of {total: signed, mantissa: unsigned(17), shift: unsigned(6)}, always ready)
        The root's ``mantissa * 2**(-15 - shift)``.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, words, width, epsilon):
        check_power_of_two("lanes", lanes, 64)
        check_range("words", words, 1, 4096)
        n = lanes * words
        check_range("lanes * words", n, 2, 16384)
        check_range("width", width, 4, 18)
        if epsilon < 1:
            raise ValueError(f"epsilon must be at least 1, not {epsilon!r}")
        largest = n**2 * 4 ** (width - 1) + epsilon
        if largest >= 1 << 62:
            formula = "(lanes * words)**2 * 4**(width - 1) + epsilon"
            raise ValueError(f"{formula} must be below 2**62, not {largest}")
        self.lanes = lanes
        self.words = words
        self.width = width
        self.epsilon = epsilon
        self.total_width = max((n << (width - 1)).bit_length() + 1, SPLIT + 1)
        self._squares_width = (n * 4 ** (width - 1)).bit_length()
        self._v_width = largest.bit_length()
        self.latency = 10 + -(-exact_log2(lanes) // exact_log2(FAN_IN))
        word = {"data": data.ArrayLayout(signed(width), lanes), "first": 1, "final": 1}
        scalars = {
            "total": signed(self.total_width),
            "mantissa": unsigned(17),
            "shift": unsigned(6),
        }
        i, o = data.StructLayout(word), data.StructLayout(scalars)
        super().__init__(
            {
                "i": In(stream.Signature(i, always_ready=True)),
                "o": Out(stream.Signature(o, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i = stream.Signature(self.i.p.shape()).create()
        m.d.comb += [i.payload.eq(self.i.p), i.valid.eq(self.i.valid)]
        m.submodules.rsqrt = rsqrt = Rsqrt(self._v_width)
        pipe = Pipeline(m, i, rsqrt.i)  # never stalls
        n = self.lanes * self.words

        # The word's sums.
        ends = {"first": i.p.first, "final": i.p.final}
        x = list(i.p.data)
        ends, squares, x = pipe.stage(ends, [v * v for v in x], x)
        while len(x) > 1:
            groups = range(0, len(x), FAN_IN)
            squares, x = ([sum(v[g : g + FAN_IN]) for g in groups] for v in (squares, x))
            ends, squares, x = pipe.stage(ends, squares, x)

        # The vector's.
        total, square = Signal(signed(self.total_width)), Signal(self._squares_width)
        with m.If(pipe.valid):
            m.d.sync += square.eq(squares[0] + Mux(ends["first"], 0, square))
            m.d.sync += total.eq(x[0] + Mux(ends["first"], 0, total))
        pipe.valid = pipe.valid & ends["final"]
        pipe.stage()

        # n sum(x**2) + epsilon, and sum(x)**2 in parts.
        low, high = total[:SPLIT], total[SPLIT:].as_signed()
        parts = [low * low, high * low, high * high]
        v, parts, total = pipe.stage(multiple(square, n) + self.epsilon, parts, total)
        low, middle, high = parts
        whole = low + (middle << SPLIT + 1) + (high << 2 * SPLIT)
        v, whole, total = pipe.stage(v, whole, total)
        (difference, total) = pipe.stage((v - whole)[: self._v_width], total)
        pipe.finish(difference)
        m.d.comb += [rsqrt.o.ready.eq(1), self.o.valid.eq(rsqrt.o.valid)]
        m.d.comb += [
            self.o.p.total.eq(delayed(m, total, rsqrt.latency)),
            self.o.p.mantissa.eq(rsqrt.o.p.mantissa),
            self.o.p.shift.eq(rsqrt.o.p.shift),
        ]
        return m


def multiple(x, factor):
    """``x * factor`` for a positive int, by as few additions as its signed digits need."""
    digits, place = [], 0
    while factor:
        if factor & 1:
            digit = 2 - (factor & 3)
            digits.append((digit, place))
            factor -= digit
        factor >>= 1
        place += 1
    digits.reverse()  # the leading one is positive
    product = x << digits[0][1]
    for digit, place in digits[1:]:
        product = product + (x << place) if digit > 0 else product - (x << place)
    return product
