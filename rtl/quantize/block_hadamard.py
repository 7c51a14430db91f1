"""The Hadamard transform of blocks within a word: of queries and keys, in front of ``down``."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.reference.units.hadamard import block_shift
from celosia.rtl.quantize.hadamard_stages import butterflies
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import framed

__all__ = ["BlockHadamard"]


class BlockHadamard(wiring.Component):
    """``H x / 2**block_shift(size)`` of blocks of ``size`` lanes, ``H`` Sylvester's matrix.

    Sums are exact, rounded half up and saturated to ``width`` bits. Bit-exact with
    :func:`celosia.reference.units.hadamard.block_hadamard`. Vectors of any size, of several tokens
    in any order: a word needs no other.

    Latency ``ceil(log2(size) / 2) + 1`` cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 2 to 64
    size : int, a power of two from 2 to ``lanes``
    width : int, 4 to 24
    tokens : int, 1 to 64

    Members
    -------
    i, o : In, Out(stream of framed(lanes, width, tokens))

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Fino and Algazi 1976 (the fast transform).
    """

    def __init__(self, lanes, size, width, tokens=1):
        check_power_of_two("lanes", lanes, 64)
        check_range("lanes", lanes, 2, 64)
        check_power_of_two("size", size, lanes)
        check_range("size", size, 2, lanes)
        check_range("width", width, 4, 24)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.size = size
        self.width = width
        self.tokens = tokens
        self.latency = -(-exact_log2(size) // 2) + 1
        word = stream.Signature(framed(lanes, width, tokens))
        super().__init__({"i": In(word), "o": Out(word)})

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        frame = {name: self.i.p[name] for name, _ in self.i.p.shape() if name != "data"}
        shift = block_shift(self.size)
        # A block's first value is part of each of its sums, and with it the rounding's half.
        half = 1 << (shift - 1)
        x = [v + half if n % self.size == 0 else v for n, v in enumerate(self.i.p.data)]
        for level in range(0, exact_log2(self.size), 2):
            for distance in (1 << level, 2 << level):
                if distance < self.size:
                    x = butterflies(x, distance)
            frame, x = pipe.stage(frame, x)
        frame, x = pipe.stage(frame, [clamp(v[shift:].as_signed(), self.width) for v in x])
        pipe.finish({**frame, "data": x})
        return m
