"""Embeddings of grouped weights: a row's codes become numbers, two planes one word."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.mac.group_scales import parameter_layout
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline

__all__ = ["EMBEDDED_WIDTH", "EmbeddingWords"]

EMBEDDED_WIDTH = 18  # bits of a weight in steps of its row


class EmbeddingWords(wiring.Component):
    """``o[lane] = codes[lane] * scale + offset``, of an upper plane's word and the next the sum.

    Latency 3 cycles from the word, of two planes the lower one. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, 1 to 64
    groups : GroupFormat

    Members
    -------
    i : In(stream of codes[lanes], parameters, upper)
        ``upper`` tells that the next word belongs to this one.
    o : Out(stream of signed(18)[lanes])

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, groups):
        check_range("lanes", lanes, 1, 64)
        self.lanes = lanes
        word = data.StructLayout(
            {
                "codes": data.ArrayLayout(signed(groups.weight_width), lanes),
                "parameters": parameter_layout(groups),
                "upper": 1,
            }
        )
        self.groups = groups
        o = data.ArrayLayout(signed(EMBEDDED_WIDTH), lanes)
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(o))})

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        word = self.i.p
        offset = word.parameters.offset if self.groups.offsets else Signal(signed(1))
        products = [code * word.parameters.scale for code in word.codes]
        products, offset, upper = pipe.stage(products, offset, word.upper)
        values = [product + offset for product in products]
        values, upper = pipe.stage(values, upper)
        before = [Signal(signed(EMBEDDED_WIDTH), name=f"before_{n}") for n in range(self.lanes)]
        with m.If(pipe.advance & pipe.valid):
            for register, value in zip(before, values, strict=True):
                m.d.sync += register.eq(Mux(upper, value, 0))
        pipe.valid = pipe.valid & ~upper
        sums = [register + value for register, value in zip(before, values, strict=True)]
        (sums,) = pipe.stage(sums)
        pipe.finish(Cat(*(total[:EMBEDDED_WIDTH] for total in sums)))
        return m
