"""The denominator of a softmax, summed while the vector passes and its maximum runs."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.reference.units.softmax import OCTAVE, lane_guard, sum_fraction
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, choose, first_largest

__all__ = ["MANTISSA_WIDTH", "SoftmaxTotal"]

FAN_IN = 4  # values compared, or added, in one stage
MANTISSA_WIDTH = 16


class SoftmaxTotal(wiring.Component):
    """``1 / sum(mantissa * 2**exponent)`` of each vector, relative to its largest octave.

    An octave is 8 powers of two. What lies below the sum's last place is cut off. Bit-exact with
    :func:`celosia.reference.units.softmax.softmax`.

    Latency :attr:`latency`, 13 to 19 cycles, from a vector's last word. Throughput 1 word per
    cycle.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    words : int, 1 to 4096
        The most in a vector.
    exponent_width : int, 4 to 26

    Members
    -------
    i : In(stream of {mantissas: unsigned(16)[lanes], exponents: signed[lanes], first, last})
        Always ready. ``first`` and ``last`` mark a vector's ends.
    o : Out(stream of {mantissa: unsigned(17), shift: unsigned(6), octave: signed})
        Always ready. The sum is ``2**(15 + shift + 8 * octave - 8 - sum_fraction) / mantissa``.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, words, exponent_width):
        check_power_of_two("lanes", lanes, 64)
        check_range("words", words, 1, 4096)
        check_range("exponent_width", exponent_width, 4, 26)
        self.lanes = lanes
        self.words = words
        self.exponent_width = exponent_width
        self.width = MANTISSA_WIDTH + sum_fraction(lanes, words) + (lanes * words - 1).bit_length()
        self.latency = 13 + 2 * -(-exact_log2(lanes) // exact_log2(FAN_IN))
        word = {
            "mantissas": data.ArrayLayout(unsigned(MANTISSA_WIDTH), lanes),
            "exponents": data.ArrayLayout(signed(exponent_width), lanes),
            "first": 1,
            "last": 1,
        }
        scalars = {
            "mantissa": unsigned(17),
            "shift": unsigned(6),
            "octave": signed(exponent_width - OCTAVE),
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
        m.submodules.reciprocal = reciprocal = Reciprocal(self.width, spread=True)
        pipe = Pipeline(m, i, reciprocal.i)  # never stalls
        ends, largest, powers = self._word(m, pipe)

        # The largest octave so far, and how far sum and word lie below it.
        octave = Signal(signed(self.exponent_width - OCTAVE))
        own, now = largest[OCTAVE:].as_signed(), Signal.like(octave)
        m.d.comb += now.eq(Mux(ends["first"] | (own > octave), own, octave))
        with m.If(pipe.valid):
            m.d.sync += octave.eq(now)
        ends, largest, powers, now, before = pipe.stage(ends, largest, powers, now, octave)
        rise = _limited(m, now - before, -(-self.width // 8))
        top = Cat(Const(-1, OCTAVE), now).as_signed()  # the octave's largest power
        below = _limited(m, top - largest, self.width)
        ends, powers, now, rise, below = pipe.stage(ends, powers, now, rise, below)
        kept = sum_fraction(self.lanes, self.words) - lane_guard(self.lanes)
        moved = ((powers << kept) >> below)[: self.width]
        ends, moved, now, rise = pipe.stage(ends, moved, now, rise)

        total = Signal(self.width)
        with m.If(pipe.valid):
            moved_total = total >> (rise << OCTAVE)
            m.d.sync += total.eq(Mux(ends["first"], 0, moved_total) + moved)
        pipe.valid = pipe.valid & ends["last"]
        (now,) = pipe.stage(now)
        total, now = pipe.stage(total | (total == 0), now)
        pipe.finish(total)
        for _ in range(reciprocal.latency):  # beside it
            later = Signal.like(now, name="octave_later")
            m.d.sync += later.eq(now)
            now = later
        m.d.comb += [
            reciprocal.o.ready.eq(1),
            self.o.valid.eq(reciprocal.o.valid),
            self.o.p.mantissa.eq(reciprocal.o.p.mantissa),
            self.o.p.shift.eq(reciprocal.o.p.shift),
            self.o.p.octave.eq(now),
        ]
        return m

    def _word(self, m, pipe):
        """A word's ends, its largest exponent, and the sum of its powers relative to that."""
        ends = {"first": self.i.p.first, "last": self.i.p.last}
        mantissas, exponents = list(self.i.p.mantissas), list(self.i.p.exponents)
        best = exponents
        while len(best) > 1:
            groups = [best[n : n + FAN_IN] for n in range(0, len(best), FAN_IN)]
            best = [choose(first_largest(m, group), group) for group in groups]
            ends, mantissas, exponents, best = pipe.stage(ends, mantissas, exponents, best)
        guard = lane_guard(self.lanes)
        distances = [_limited(m, best[0] - e, MANTISSA_WIDTH + guard) for e in exponents]
        ends, mantissas, distances, best = pipe.stage(ends, mantissas, distances, best)
        powers = [(x << guard) >> d for x, d in zip(mantissas, distances, strict=True)]
        ends, powers, best = pipe.stage(ends, powers, best)
        while len(powers) > 1:
            groups = range(0, len(powers), FAN_IN)
            powers = [sum(powers[n : n + FAN_IN]) for n in groups]
            ends, powers, best = pipe.stage(ends, powers, best)
        return ends, best[0], powers[0]


def _limited(m, distance, limit):
    """The ``distance``, 0 or more, or as much as ``limit`` or more where it is larger, as a signal.

    A shift by either leaves nothing.
    """
    limited = Signal(limit.bit_length())
    beyond = distance[len(limited) :].any()
    m.d.comb += limited.eq(distance[: len(limited)] | beyond.replicate(len(limited)))
    return limited
