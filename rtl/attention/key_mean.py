"""Rotated keys without their mean, on the way into the cache."""

from amaranth import Cat, Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from celosia.reference.units.head_quantize import MEAN_SHIFT
from celosia.rtl.machine.step import argument_layout
from celosia.rtl.norm.gains import check_gains, read_gains
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import framed

__all__ = ["KeyMean"]


class KeyMean(wiring.Component):
    """``x - 256 * mean`` of the layer, saturated to 16 bits, for keys; queries pass as they are.

    A query's scores all shift alike, which its softmax does not see.

    Latency 2 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes, tokens : int, 1 to 64
    means : sequence of int8[n_kv_heads * padded head_dim]
        Of each of 1 to 128 layers.

    Members
    -------
    i, o : In, Out(stream of framed(lanes, 16, tokens))
        ``argument`` is the ``head`` of :func:`celosia.rtl.machine.step.argument_layout`; a key's
        ``index`` counts from 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, means, tokens=1):
        check_range("lanes", lanes, 1, 64)
        check_range("tokens", tokens, 1, 64)
        check_range("len(means)", len(means), 1, 128)
        self.lanes = lanes
        self.tokens = tokens
        self.means = check_gains(means, len(means[0]))
        word = stream.Signature(framed(lanes, 16, tokens))
        super().__init__({"i": In(word), "o": Out(word)})

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        head = argument_layout()(self.i.p.argument).head
        place = self.lanes, self.i.p.index, head.layer, pipe.advance
        means = read_gains(m, self.means, *place, width=8, name="means")
        word, is_key = pipe.stage(self.i.p, head.is_key)
        without = [
            clamp(Cat(x[:MEAN_SHIFT], x[MEAN_SHIFT:].as_signed() - mean).as_signed(), 16)
            for x, mean in zip(word.data, means, strict=True)
        ]
        data = [Mux(is_key, a, x) for a, x in zip(without, word.data, strict=True)]
        frame = {name: word[name] for name, _ in self.i.p.shape() if name != "data"}
        frame, data = pipe.stage(frame, data)
        pipe.finish({**frame, "data": data})
        return m
