"""Register stages between two streams, and the arithmetic idioms that stages are made of."""

from typing import Any

from amaranth import Cat, Const, Mux, Signal, signed
from amaranth.utils import ceil_log2, exact_log2

__all__ = [
    "Pipeline",
    "bit_length",
    "choose",
    "clamp",
    "delayed",
    "first_largest",
    "halved",
    "magnitude",
    "moved",
    "overflowing",
    "round_shift",
]


class Pipeline:
    """Carries values from stream ``i`` to stream ``o`` through register stages that stall together.

    All stages advance in each cycle in which ``o`` is empty or taken (:attr:`advance`). Call
    :meth:`stage` once per register stage with the values to keep, then :meth:`finish`::

        pipe = Pipeline(m, self.i, self.o)
        (product,) = pipe.stage(self.i.p.data[0] * self.i.p.data[1])
        pipe.finish({"data": product})

    Latency is the number of stages, throughput one payload per cycle.
    """

    def __init__(self, m, i, o):
        self._m, self._i, self._o = m, i, o
        self.advance = Signal(name="advance")
        self.valid = i.valid
        m.d.comb += [self.advance.eq(o.ready | ~o.valid), i.ready.eq(self.advance)]

    def stage(self, *values) -> Any:
        """Registers holding ``values`` one stage later, in the same form.

        A value has any shape, structures included; lists and dicts of values go together.
        """
        valid = Signal(name="stage_valid")
        with self._m.If(self.advance):
            self._m.d.sync += valid.eq(self.valid)
            registers = [self._keep(value) for value in values]
        self.valid = valid
        return registers

    def _keep(self, value):
        if isinstance(value, list):
            return [self._keep(v) for v in value]
        if isinstance(value, dict):
            return {name: self._keep(v) for name, v in value.items()}
        register = Signal(value.shape(), name="stage")
        self._m.d.sync += register.eq(value)
        return register

    def finish(self, fields):
        """Connect the last stage's registers to ``o``: a value, or a dict of payload members.

        A list is an array's elements.
        """
        self._m.d.comb += self._o.valid.eq(self.valid)
        payload = self._o.payload
        if not isinstance(fields, dict):
            self._m.d.comb += payload.eq(fields)
            return
        for name, value in fields.items():
            if isinstance(value, list):
                self._m.d.comb += [payload[name][n].eq(v) for n, v in enumerate(value)]
            else:
                self._m.d.comb += payload[name].eq(value)


def round_shift(m, x, shift, limit):
    """``floor(x / 2**shift + 1/2)`` as a signal; ``shift`` is an int or a signal of 0 to ``limit``.

    Bit-exact with :func:`celosia.reference.arithmetic.round_shift`.
    """
    if isinstance(shift, int):
        half = 1 << (shift - 1) if shift else 0
        rounded = Signal(signed(max(len(x) + 1 - shift, 2)))
        m.d.comb += rounded.eq((x + half) >> shift)
        return rounded
    doubled = Signal(signed(len(x) + 1))
    shifted = Signal(signed(len(x) + 1))
    rounded = Signal(signed(len(x) + 1))
    m.d.comb += [
        doubled.eq(Cat(Const(0, 1), x).as_signed()),
        shifted.eq(doubled >> shift[: limit.bit_length()]),
        rounded.eq((shifted + 1) >> 1),
    ]
    return rounded


def clamp(x, width, low=None):
    """``x`` saturated to ``width`` signed bits (or to ``low`` below)."""
    high = (1 << (width - 1)) - 1
    if low is not None:
        return Mux(x > high, high, Mux(x < low, low, x))
    if not x.shape().signed:
        x = Cat(x, Const(0, 1)).as_signed()
    if len(x) <= width:
        return x
    sign, above = x[-1], x[width - 1 : -1]
    beyond = above != sign.replicate(len(above))
    return Mux(beyond, Cat((~sign).replicate(width - 1), sign), x[:width]).as_signed()


def halved(m, x, width):
    """``floor(x / 2 + 1/2)`` saturated to ``width`` signed bits; the sum and the test at once."""
    value, rounded, beyond = Signal(signed(len(x))), Signal(signed(width)), Signal()
    sign, above = value[-1], value[width:-1]
    m.d.comb += [
        value.eq(x),
        rounded.eq((value[: width + 1].as_signed() + 1) >> 1),
        beyond.eq(above != sign.replicate(len(above))),
    ]
    full = ~sign & (beyond | rounded[-1])  # the sum may reach the sign's place, too
    bits = rounded[:-1] & ~beyond.replicate(width - 1)
    return Cat(bits | full.replicate(width - 1), sign & (beyond | rounded[-1])).as_signed()


def overflowing(shift, bits, width):
    """The ``bits`` low ones of a value that find no place in ``width`` when it moves right."""
    return (Const(-1 << (width - 1)) << shift)[:bits]


def delayed(m, value, cycles=1, name="delayed", **options):
    """``value``, so many cycles later, whatever stalls; ``options`` are those of the registers."""
    for _ in range(cycles):
        register = Signal(value.shape(), name=name, **options)
        m.d.sync += register.eq(value)
        value = register
    return value


def moved(m, x, shift, bits, width):
    """``x / 2**shift``, rounded down, by some ``bits`` of ``shift`` alone, the largest first.

    Signed; of the result the bits that reach ``width`` by the bits of ``shift`` that are left.
    """
    x = x.as_signed()
    for k in bits:
        moved = Signal(signed(min(len(x), width + (1 << k) - 1)), name=f"moved_{k}")
        m.d.comb += moved.eq(Mux(shift[k], x >> (1 << k), x))
        x = moved
    return x


def bit_length(value):
    """The bits of the unsigned ``value`` without leading zeros, by a tree of two-way choices.

    Bit-exact with :func:`celosia.reference.arithmetic.bit_length`.
    """

    def leading(bits):
        """The place of the leading one among 2**n bits: n bits, and all of them if it is there."""
        if len(bits) == 1:
            return Const(0, 0)
        half = len(bits) // 2
        high = bits[half:]
        place = Mux(high.any(), leading(high), leading(bits[:half]))
        return Cat(place[: exact_log2(half)], high.any())

    size = ceil_log2(len(value) + 1)
    return leading(Cat(Const(1, 1), value, Const(0, (1 << size) - 1 - len(value))))


def first_largest(m, values):
    """For each of ``values`` a bit: whether it is the largest, the first one among equals.

    All pairs are compared at once.
    """
    if values[0].shape().signed:  # unsigned comparisons are the faster ones
        values = [Cat(v[:-1], ~v[-1]) for v in values]
    wins = [[] for _ in values]
    for i, a in enumerate(values):
        for j, b in enumerate(values[i + 1 :], i + 1):
            first = Signal(name=f"first_{i}_{j}")
            m.d.comb += first.eq(a >= b)
            wins[i].append(first)
            wins[j].append(~first)
    return [Cat(*bits).all() for bits in wins]


def choose(bits, values):
    """The one of ``values``, alike in shape, whose bit is set."""
    chosen = 0
    for bit, value in zip(bits, values, strict=True):
        chosen = chosen | (bit.replicate(len(value)) & value)[: len(value)]
    return chosen.as_signed() if values[0].shape().signed else chosen


def magnitude(m, values, drop=0):
    """The bits a block of signed ``values`` needs beside a sign and ``drop`` others, as a signal.

    Bit-exact with ``maximum(magnitude_bits(values) - drop, 0)`` of
    :func:`celosia.reference.arithmetic.magnitude_bits`.
    """
    values = list(values)
    width = max(len(v) for v in values) - 1
    together = Signal(width)
    folded = 0
    for v in values:
        folded = folded | (v ^ v[-1].replicate(len(v)))[: len(v) - 1]
    m.d.comb += together.eq(folded)
    counted = bit_length(together[drop:])
    bits = Signal(len(counted))
    m.d.comb += bits.eq(counted)
    return bits
