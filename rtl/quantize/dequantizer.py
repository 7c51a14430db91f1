"""The way back from integer dot products: zero points corrected, groups scaled and added."""

from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.arithmetic.multiplier import multiply
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import framed

__all__ = ["Dequantizer"]

SPLIT = 17  # low bits of a value, multiplied on their own


class Dequantizer(wiring.Component):
    """``sum((data - zero_point * sums) * scale) / 2**argument`` over groups, rounded half up.

    Saturates to ``width`` bits. Bit-exact with
    :func:`celosia.reference.units.quantizer.dequantize`. With activations that have a zero point,
    ``sums`` are those of each row's weights; with weights that have one, of the activations.

    Latency 7 cycles from a word's last group. Throughput 1 group per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    acc_width : int, 8 to 40
    sum_width : int, 2 to 24
    groups : int, 1 to 4096
        At most, of one word.
    width : int, 8 to 32

    Members
    -------
    i : In(stream of framed(lanes, acc_width, zero_point=uint8[lanes], sums=int sum_width[lanes],
        scale=uint16[lanes], end=1))
        The groups of a word one after the other; ``end`` with the last one. The sum over the
        groups is below ``2**62``; ``argument`` is from 0 to 62.
    o : Out(stream of framed(lanes, width))
        The word, with what else came with its last group.
    error : Out(1)
        Set, until reset, by a word of more than ``groups`` groups, which may wrap.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 7

    def __init__(self, lanes, acc_width=32, sum_width=16, groups=64, width=24):
        check_power_of_two("lanes", lanes, 64)
        check_range("acc_width", acc_width, 8, 40)
        check_range("sum_width", sum_width, 2, 24)
        check_range("groups", groups, 1, 4096)
        check_range("width", width, 8, 32)
        self.lanes = lanes
        self.acc_width = acc_width
        self.sum_width = sum_width
        self.groups = groups
        self.width = width
        more = {
            "zero_point": data.ArrayLayout(unsigned(8), lanes),
            "sums": data.ArrayLayout(signed(sum_width), lanes),
            "scale": data.ArrayLayout(unsigned(16), lanes),
            "end": 1,
        }
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, acc_width, **more))),
                "o": Out(stream.Signature(framed(lanes, width))),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        word = self.i.p
        frame = {name: word[name] for name in ("token", "index", "argument", "last", "end")}
        pairs = zip(word.zero_point, word.sums, strict=True)
        corrections = [multiply(m, zero_point, total) for zero_point, total in pairs]
        count = Signal(range(self.groups))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += count.eq(Mux(word.end | (count == self.groups - 1), 0, count + 1))
            m.d.sync += self.error.eq(self.error | ((count == self.groups - 1) & ~word.end))
        corrections, accs, scales, frame = pipe.stage(
            corrections, list(word.data), list(word.scale), frame
        )
        values = []
        for acc, correction in zip(accs, corrections, strict=True):
            value = acc - correction
            values.append(Signal(signed(max(len(value), SPLIT + 1)), name="value"))
            m.d.comb += values[-1].eq(value)
        values, scales, frame = pipe.stage(values, scales, frame)

        # The product, in two parts; their sum is left to the next stage.
        low = [multiply(m, v[:SPLIT], s) for v, s in zip(values, scales, strict=True)]
        high = [multiply(m, v[SPLIT:].as_signed(), s) for v, s in zip(values, scales, strict=True)]
        low, high, frame = pipe.stage(low, high, frame)
        products = [(b << SPLIT) + a for a, b in zip(low, high, strict=True)]

        # The groups' sum: kept until the word's last one, which alone goes on.
        fresh, totals = Signal(init=1), []
        for product in products:
            kept = Signal(signed(min(len(product) + (self.groups - 1).bit_length(), 63)))
            total = Signal.like(kept)
            m.d.comb += total.eq(Mux(fresh, 0, kept) + product)
            with m.If(pipe.advance & pipe.valid):
                m.d.sync += kept.eq(total)
            totals.append(total)
        with m.If(pipe.advance & pipe.valid):
            m.d.sync += fresh.eq(frame["end"])
        pipe.valid = pipe.valid & frame.pop("end")
        totals, frame = pipe.stage(totals, frame)
        shift = frame["argument"][:6]
        doubled, frame = pipe.stage([(total << 1) >> shift for total in totals], frame)
        rounded, frame = pipe.stage([(d + 1) >> 1 for d in doubled], frame)
        results, frame = pipe.stage([clamp(value, self.width) for value in rounded], frame)
        pipe.finish({"data": results, **frame})
        return m
