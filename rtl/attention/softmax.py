"""Softmax of vectors of any length, streaming, masked, with a running maximum."""

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.functions.tables import power_table
from celosia.reference.units.softmax import OCTAVE, POWER_FRACTION, power_factor, sum_fraction
from celosia.rtl.arithmetic.multiplier import multiply
from celosia.rtl.attention.softmax_total import MANTISSA_WIDTH, SoftmaxTotal
from celosia.rtl.functions.interpolate import interpolate
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.frame_guard import FrameGuard
from celosia.rtl.stream.pipeline import Pipeline, round_shift
from celosia.rtl.stream.words import ARGUMENT_WIDTH, INDEX_WIDTH, framed, token_width

__all__ = ["Softmax"]

PRODUCT_WIDTH = MANTISSA_WIDTH + 17


class Softmax(wiring.Component):
    """``exp(unit * x) / sum(exp(unit * x))`` of each vector, in units of ``2**-o_width``.

    The sum is built relative to the maximum so far: nothing overflows, and the vector passes once.
    Elements whose bit in ``mask`` is 0 do not count and become 0, as do all of a vector without
    any. Results are rounded half up and are at most ``2**o_width - 1``. Bit-exact with
    :func:`celosia.reference.units.softmax.softmax`. The error of a result ``y`` is at most
    ``0.5 + 2e-4 * y``, and 0.5 more where it saturates; ``unit`` is rounded to 17 bits.

    For programs that need probabilities of up to 16 bits as a vector. The machine's
    :class:`celosia.rtl.attention.softmax_block.SoftmaxBlock` never has them: it waits for no
    vector, and its powers of 7 bits enter the fabric before their sum is known.

    Latency :attr:`latency`, 28 to 34 cycles, from a vector's last word to the first of its result.
    Throughput 1 word per cycle, vector on vector.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    words : int, 1 to 4096
        The most in a vector.
    unit : float, 2**-20 to 1
        Of ``x``, in natural logarithms: for attention the scores' unit over ``sqrt(head_dim)``.
    x_width : int, 4 to 24
    o_width : int, 8 to 16
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of framed(lanes, x_width, tokens, mask=unsigned(lanes)))
        The words of one vector after those of another, each from index 0; ``last`` with the last
        one of each. Bit ``j`` of ``mask`` is that of lane ``j``.
    o : Out(stream of framed(lanes, unsigned(o_width), tokens))
    error : Out(1)
        A vector was not whole, or too long; see :class:`celosia.rtl.stream.frame_guard.FrameGuard`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Milakov and Gimelshein 2018, "Online normalizer calculation for softmax".
    """

    def __init__(self, lanes, words, unit, x_width=16, o_width=16, tokens=1):
        check_power_of_two("lanes", lanes, 64)
        check_range("words", words, 1, 4096)
        if not 2.0**-20 <= unit <= 1:
            raise ValueError(f"unit must be from 2**-20 to 1, not {unit!r}")
        check_range("x_width", x_width, 4, 24)
        check_range("o_width", o_width, 8, 16)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.words = words
        self.unit = unit
        self.x_width = x_width
        self.o_width = o_width
        self.tokens = tokens
        self._factor, self._shift = power_factor(unit)
        largest = (self._factor << (x_width - 1)) >> self._shift
        self._exponent_width = max(largest.bit_length() + 1 - POWER_FRACTION, OCTAVE) + 1
        self._total = SoftmaxTotal(lanes, words, self._exponent_width)
        self.latency = self._total.latency + 15
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, x_width, tokens, mask=unsigned(lanes)))),
                "o": Out(stream.Signature(framed(lanes, unsigned(o_width), tokens))),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.guard = guard = FrameGuard(self.i.p.shape(), self.words, shorter=True)
        wiring.connect(m, wiring.flipped(self.i), guard.i)
        m.d.comb += self.error.eq(guard.error)
        joint = self._collected(m, self._powers(m, guard.o))
        pipe = Pipeline(m, joint, self.o)
        index = Signal(INDEX_WIDTH)
        with m.If(joint.valid & joint.ready):
            m.d.sync += index.eq(Mux(joint.p.word.last, 0, index + 1))
        word, scalars = joint.p.word, joint.p.scalars
        frame = {name: word[name] for name in ("token", "argument", "last")} | {"index": index}
        mantissas, exponents = list(word.mantissas), list(word.exponents)

        # How far a result's last place lies above that of a power by the root's mantissa.
        top = Signal(signed(self._exponent_width + 2))
        least = 15 - sum_fraction(self.lanes, self.words) - self.o_width
        m.d.comb += top.eq((scalars.octave << OCTAVE) + 7 + scalars.shift + least)
        frame, mantissas, exponents, root, top = pipe.stage(
            frame, mantissas, exponents, scalars.mantissa, top
        )
        products = [multiply(m, x, root) for x in mantissas]
        frame, products, shifts = pipe.stage(frame, products, [top - e for e in exponents])
        limit = PRODUCT_WIDTH + 1
        shifts = [Mux(s > limit, limit, s)[: limit.bit_length()] for s in shifts]
        frame, products, shifts = pipe.stage(frame, products, shifts)
        doubled = [Cat(Const(0, 1), p) for p in products]
        frame, moved = pipe.stage(frame, [x >> s for x, s in zip(doubled, shifts, strict=True)])
        frame, y = pipe.stage(frame, [self._rounded(x) for x in moved])
        pipe.finish({**frame, "data": y})
        return m

    def _rounded(self, doubled):
        """``doubled / 2``, rounded half up and limited to ``o_width`` bits."""
        low, above = doubled[: self.o_width + 1] + 1, doubled[self.o_width + 1 :]
        return (low[1:] | (above.any() | low[-1]).replicate(self.o_width))[: self.o_width]

    def _powers(self, m, i):
        """A stream of words of powers of two; those that do not count are 0, and the least ones."""
        word = {
            "mantissas": data.ArrayLayout(unsigned(MANTISSA_WIDTH), self.lanes),
            "exponents": data.ArrayLayout(signed(self._exponent_width), self.lanes),
            "token": unsigned(token_width(self.tokens)),
            "argument": unsigned(ARGUMENT_WIDTH),
            "first": 1,
            "last": 1,
        }
        o = stream.Signature(data.StructLayout(word)).create()
        pipe = Pipeline(m, i, o)
        frame = {name: i.p[name] for name in ("token", "argument", "last")}
        frame |= {"first": i.p.index == 0, "mask": i.p.mask}
        factor = Const(self._factor)
        frame, products = pipe.stage(frame, [multiply(m, x, factor) for x in i.p.data])
        shape = signed(self._exponent_width + POWER_FRACTION)
        logarithms = [Signal(shape, name=f"logarithm_{n}") for n in range(self.lanes)]
        for x, product in zip(logarithms, products, strict=True):
            m.d.comb += x.eq(round_shift(m, product, self._shift, self._shift))
        frame, logarithms = pipe.stage(frame, logarithms)
        fractions = [x[:POWER_FRACTION] for x in logarithms]
        exponents = [x[POWER_FRACTION:].as_signed() for x in logarithms]
        mantissas, (*exponents, frame) = interpolate(
            m, pipe, power_table(), 7, fractions, [*exponents, frame], width=MANTISSA_WIDTH
        )
        least = -1 << (self._exponent_width - 1)
        mask = frame.pop("mask")
        mantissas = [Mux(bit, x, 0) for bit, x in zip(mask, mantissas, strict=True)]
        exponents = [Mux(bit, e, least) for bit, e in zip(mask, exponents, strict=True)]
        frame, mantissas, exponents = pipe.stage(frame, mantissas, exponents)
        pipe.finish({**frame, "mantissas": mantissas, "exponents": exponents})
        return o

    def _collected(self, m, powers):
        """A stream of words of powers with the scalars of their vectors."""
        m.submodules.total = total = self._total
        depth = total.latency + 8  # vectors, and words, that may be on their way
        layout, scalars = powers.p.shape(), total.o.p.shape()
        words = fifo.SyncFIFOBuffered(width=layout.size, depth=self.words + depth)
        sums = fifo.SyncFIFOBuffered(width=scalars.size, depth=depth)
        m.submodules.words, m.submodules.sums = words, sums
        word, scalar = _registered(m, words, layout), _registered(m, sums, scalars)
        shape = data.StructLayout({"word": layout, "scalars": scalars})
        o = stream.Signature(shape).create()
        pending, taken, popped = Signal(range(depth + 1)), Signal(), Signal()
        m.d.comb += [
            powers.ready.eq(words.w_rdy & (pending != depth)),
            taken.eq(powers.valid & powers.ready),
            words.w_data.eq(powers.p),
            words.w_en.eq(taken),
            total.i.valid.eq(taken),
            total.i.p.mantissas.eq(powers.p.mantissas),
            total.i.p.exponents.eq(powers.p.exponents),
            total.i.p.first.eq(powers.p.first),
            total.i.p.last.eq(powers.p.last),
            sums.w_data.eq(total.o.p),
            sums.w_en.eq(total.o.valid),
            o.p.word.eq(word.p),
            o.p.scalars.eq(scalar.p),
            o.valid.eq(word.valid & scalar.valid),
            word.ready.eq(o.valid & o.ready),
            popped.eq(o.valid & o.ready & word.p.last),
            scalar.ready.eq(popped),
        ]
        m.d.sync += pending.eq(pending + (taken & powers.p.last) - popped)
        return o


def _registered(m, queue, layout):
    """What ``queue`` gives, a register later: memories are slow."""
    i, o = stream.Signature(layout).create(), stream.Signature(layout).create()
    pipe = Pipeline(m, i, o)
    pipe.finish(*pipe.stage(i.p))
    m.d.comb += [
        i.payload.as_value().eq(queue.r_data),
        i.valid.eq(queue.r_rdy),
        queue.r_en.eq(i.ready),
    ]
    return o
