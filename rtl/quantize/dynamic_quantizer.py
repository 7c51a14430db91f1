"""The quantiser that measures its scales: one for each vector, or for each group of a vector."""

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.reference.units.quantizer import SCALE_FRACTION, limits, scale_factor
from celosia.rtl.arithmetic.multiplier import multiply
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.quantize.quantizer import limited, quantized_shape
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, choose, delayed, first_largest, round_shift
from celosia.rtl.stream.words import framed

__all__ = ["DynamicQuantizer"]

FAN_IN = 4  # values compared in one stage


class DynamicQuantizer(wiring.Component):
    """``clamp(round(x / s) + zero_point)`` with ``s = scale * 2**-8`` measured for each group.

    A group is ``words`` words, or those up to ``last``: a vector (one scale per token), or a part
    of one. ``s`` is hardly more than ``max|x| / (2**(width - 1) - 1)``; with zero points than
    ``(max(x, 0) - min(x, 0)) / (2**width - 1)``. Bit-exact with
    :func:`celosia.reference.units.quantizer.dynamic_quantize`.

    Latency ``latency`` cycles from a group's last word to its first result. Throughput 1 word per
    cycle for whole groups.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    words : int, 1 to 4096
    x_width : int, 8 to 18
    width : int, 2 to 8
    symmetric : bool
        Whether there are no zero points.

    Members
    -------
    i : In(stream of framed(lanes, x_width))
    o : Out(stream of framed(lanes, signed(width), scale=unsigned)) or, if not ``symmetric``,
        Out(stream of framed(lanes, unsigned(width), scale=unsigned, zero_point=unsigned(width)))
        Every word carries its group's scale.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, words, x_width=16, width=8, symmetric=True):
        check_power_of_two("lanes", lanes, 64)
        check_range("words", words, 1, 4096)
        check_range("x_width", x_width, 8, 18)
        check_range("width", width, 2, 8)
        if symmetric not in (False, True):
            raise ValueError(f"symmetric must be False or True, not {symmetric!r}")
        self.lanes = lanes
        self.words = words
        self.x_width = x_width
        self.width = width
        self.symmetric = symmetric
        self._measure = _Measure(lanes, x_width, width, symmetric)
        self.latency = self._measure.latency + 5
        more = {"scale": unsigned(self._measure.scale_width)}
        more |= {} if symmetric else {"zero_point": unsigned(width)}
        o = framed(lanes, quantized_shape(width, symmetric), **more)
        super().__init__(
            {"i": In(stream.Signature(framed(lanes, x_width))), "o": Out(stream.Signature(o))}
        )

    def elaborate(self, platform):
        m = Module()
        kept = data.StructLayout({"word": self.i.p.shape(), "end": 1})
        m.submodules.measure = measure = self._measure
        measured = measure.o.p.shape()
        groups = -(-self.latency // self.words) + 2  # whose scales may be on their way
        words = SyncFIFOBuffered(width=kept.size, depth=self.words + self.latency)
        scales = SyncFIFOBuffered(width=measured.size, depth=groups)
        m.submodules += [words, scales]

        count, pending = Signal(range(self.words)), Signal(range(groups + 1))
        taken, end, popped = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(words.w_rdy & (pending != groups)),
            taken.eq(self.i.valid & self.i.ready),
            end.eq(self.i.p.last | (count == self.words - 1)),
            words.w_en.eq(taken),
            words.w_data.eq(Cat(self.i.p, end)),
            measure.i.valid.eq(taken),
            measure.i.p.data.eq(self.i.p.data),
            measure.i.p.end.eq(end),
            measure.o.ready.eq(1),
            scales.w_en.eq(measure.o.valid),
            scales.w_data.eq(measure.o.payload),
        ]
        with m.If(taken):
            m.d.sync += count.eq(Mux(end, 0, count + 1))
        m.d.sync += pending.eq(pending + (taken & end) - popped)

        # Words through one more register: queues are slow.
        queued, word = (stream.Signature(kept).create() for _ in range(2))
        m.d.comb += [
            queued.payload.eq(words.r_data),
            queued.valid.eq(words.r_rdy),
            words.r_en.eq(queued.valid & queued.ready),
        ]
        pipe = Pipeline(m, queued, word)
        pipe.finish(*pipe.stage(queued.p))
        joint = stream.Signature(data.StructLayout({"kept": kept, "scale": measured})).create()
        m.d.comb += [
            joint.p.kept.eq(word.p),
            joint.p.scale.eq(scales.r_data),
            joint.valid.eq(word.valid & scales.r_rdy),
            word.ready.eq(joint.valid & joint.ready),
            popped.eq(joint.valid & joint.ready & joint.p.kept.end),
            scales.r_en.eq(popped),
        ]
        self._divide(m, joint)
        return m

    def _divide(self, m, joint):
        """``x`` times the scale's reciprocal, rounded, moved and limited."""
        pipe = Pipeline(m, joint, self.o)
        word, found = joint.p.kept.word, joint.p.scale
        frame = {name: word[name] for name in ("token", "index", "argument", "last")}
        frame["scale"] = found.scale
        zero_point = found.zero_point
        products = [multiply(m, x, found.mantissa) for x in word.data]
        products, shift, zero_point, frame = pipe.stage(products, found.shift, zero_point, frame)
        limit = self._measure.limit
        doubled = [(p << 1) >> shift[: limit.bit_length()] for p in products]
        doubled, zero_point, frame = pipe.stage(doubled, zero_point, frame)
        rounded = [(d + 1) >> 1 for d in doubled]
        low, high = limits(self.width, self.symmetric)
        results = [limited(m, r, zero_point, low, high) for r in rounded]
        results, zero_point, frame = pipe.stage(results, zero_point, frame)
        if not self.symmetric:
            frame["zero_point"] = zero_point
        pipe.finish({"data": results, **frame})


class _Measure(wiring.Component):
    """The scale of each group of words, ``latency`` cycles after its last word; never waits."""

    def __init__(self, lanes, x_width, width, symmetric):
        self.lanes, self.symmetric = lanes, symmetric
        self.high = limits(width, symmetric)[1]
        self.factor, self.bits = scale_factor(self.high)
        largest = 1 << (x_width - 1) if symmetric else (1 << x_width) - 1
        self.scale_width = (-(-largest * self.factor >> self.bits) + 1).bit_length()
        self.limit = 15 - SCALE_FRACTION + self.scale_width
        self.latency = 10 + -(-exact_log2(lanes) // exact_log2(FAN_IN)) + (not symmetric)
        i = data.StructLayout({"data": framed(lanes, x_width)["data"].shape, "end": 1})
        o = data.StructLayout(
            {
                "scale": unsigned(self.scale_width),
                "mantissa": unsigned(17),
                "shift": unsigned(self.limit.bit_length()),
                "zero_point": unsigned(width),
            }
        )
        super().__init__({"i": In(stream.Signature(i)), "o": Out(stream.Signature(o))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.reciprocal = reciprocal = Reciprocal(self.scale_width)
        pipe = Pipeline(m, self.i, reciprocal.i)
        above, below = self._extremes(m, pipe)
        extent = above if self.symmetric else (above + below)[: len(above) + 1]
        product, below = pipe.stage(multiply(m, extent, Const(self.factor)), below)
        up = (product + ((1 << self.bits) - 1)) >> self.bits
        scale, below = pipe.stage(Mux(product == 0, 1, up)[: self.scale_width], below)
        pipe.finish(scale)

        scale, below = (delayed(m, value, reciprocal.latency) for value in (scale, below))
        pipe = Pipeline(m, reciprocal.o, self.o)
        found = {
            "scale": scale,
            "mantissa": reciprocal.o.p.mantissa,
            "shift": (reciprocal.o.p.shift + (15 - SCALE_FRACTION))[: len(self.o.p.shift)],
        }
        zero_point = Const(0, 1)
        if not self.symmetric:
            product = multiply(m, Cat(below, Const(0, 1)).as_signed(), found["mantissa"])
            product, found = pipe.stage(product, found)
            rounded = round_shift(m, product, found["shift"], self.limit)
            zero_point = Mux(rounded > self.high, self.high, rounded)[: len(self.o.p.zero_point)]
        found, zero_point = pipe.stage(found, zero_point)
        pipe.finish({"zero_point": zero_point, **found})
        return m

    def _extremes(self, m, pipe):
        """The largest of ``x`` and of ``-x`` in a group, neither below 0; of ``|x|`` if symmetric.

        In a valid cycle of the pipeline at the group's end.
        """
        ends, tops = self.i.p.end, [[], []]
        for x in self.i.p.data:
            negated, sign = (-x)[: len(x)], x[-1]
            tops[0].append(Mux(sign, negated if self.symmetric else 0, x[: len(x)]))
            tops[1].append(Const(0, 1) if self.symmetric else Mux(sign, negated, 0))
        *tops, ends = pipe.stage(*tops, ends)
        while len(tops[0]) > 1:
            tops = [
                [_largest(m, top[n : n + FAN_IN]) for n in range(0, len(top), FAN_IN)]
                for top in tops
            ]
            *tops, ends = pipe.stage(*tops, ends)
        fresh, results = Signal(init=1), []
        with m.If(pipe.advance & pipe.valid):
            m.d.sync += fresh.eq(ends)
        for (top,) in tops:
            kept, larger = Signal.like(top), Signal.like(top)
            m.d.comb += larger.eq(Mux(~fresh & (kept > top), kept, top))
            with m.If(pipe.advance & pipe.valid):
                m.d.sync += kept.eq(larger)
            results.append(larger)
        pipe.valid = pipe.valid & ends
        return pipe.stage(*results)


def _largest(m, values):
    return choose(first_largest(m, values), values)
