"""The Hadamard transform of blocks of a vector: of queries and keys, or in front of ``down``."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2
from celosia.reference.units.hadamard import block_shift
from celosia.rtl.quantize.hadamard_stages import butterflies
from celosia.rtl.quantize.word_sums import WordSums
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import framed

__all__ = ["BlockHadamard"]


class BlockHadamard(wiring.Component):
    """``H x / 2**block_shift(size)`` of blocks of ``size`` values, ``H`` Sylvester's matrix.

    Sums are exact, rounded half up and saturated to ``width`` bits. Bit-exact with
    :func:`celosia.reference.units.hadamard.block_hadamard`.

    Latency :attr:`latency`: within a word ``ceil(log2(size) / 2) + 1`` cycles; where a block is of
    ``n`` words, ``ceil(log2(lanes) / 2) + ceil(log2(n) / 2) + 3`` from its last one. Throughput 1
    word per cycle.

    Parameters
    ----------
    lanes : int, a power of two from 2 to 64
    size : int, a power of two from 2 to ``64 * lanes``
    width : int, 4 to 24
    tokens : int, 1 to 64

    Members
    -------
    i, o : In, Out(stream of framed(lanes, width, tokens))
        Operations of whole blocks; where a block is of several words with indices from 0.

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
        check_power_of_two("size", size, 64 * lanes)
        check_range("size", size, 2, 64 * lanes)
        check_range("width", width, 4, 24)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.size = size
        self.width = width
        self.tokens = tokens
        self._inner = min(size, lanes)
        self.waits = size // lanes if size > lanes else 0  # words that must be there
        self.latency = -(-exact_log2(self._inner) // 2) + 1
        self._sums = WordSums(lanes, size // lanes, width, tokens) if size > lanes else None
        if self._sums:
            self.latency += self._sums.latency
        word = stream.Signature(framed(lanes, width, tokens))
        super().__init__({"i": In(word), "o": Out(word)})

    def elaborate(self, platform):
        m = Module()
        i = self.i
        if self._sums:
            m.submodules.sums = self._sums
            wiring.connect(m, wiring.flipped(self.i), self._sums.i)
            i = self._sums.o
        pipe = Pipeline(m, i, self.o)
        frame = {name: i.p[name] for name, _ in i.p.shape() if name != "data"}
        shift = block_shift(self.size)
        # A block's first value is part of each of its sums, and with it the rounding's half.
        half = 1 << (shift - 1)
        x = [v + half if n % self._inner == 0 else v for n, v in enumerate(i.p.data)]
        for level in range(0, exact_log2(self._inner), 2):
            for distance in (1 << level, 2 << level):
                if distance < self._inner:
                    x = butterflies(x, distance)
            frame, x = pipe.stage(frame, x)
        frame, x = pipe.stage(frame, [clamp(v[shift:].as_signed(), self.width) for v in x])
        pipe.finish({**frame, "data": x})
        return m
