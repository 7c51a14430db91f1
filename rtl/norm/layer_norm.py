"""LayerNorm of vectors that stream by."""

import numpy as np
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from celosia.reference.units.layer_norm import FRACTION
from celosia.rtl.norm.norm_statistics import NormStatistics, multiple
from celosia.rtl.quantize.hadamard_stages import tagged
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.frame_guard import FrameGuard
from celosia.rtl.stream.pipeline import Pipeline, clamp
from celosia.rtl.stream.words import INDEX_WIDTH, framed

__all__ = ["LayerNorm"]

SPLIT = 17  # low bits of a normalised value, multiplied on their own
BIAS_WIDTH = 18


class LayerNorm(wiring.Component):
    """``(x - mean) / sqrt(variance + epsilon) * gains / 2**shift + biases`` of each vector.

    Statistics are exact, gathered while the vector is collected: a single pass. One rounding of
    the result (half up), which saturates to ``o_width`` bits. Bit-exact with
    :func:`celosia.reference.units.layer_norm.layer_norm`. For a normalised value ``z`` and its
    ``gain`` the error is at most ``0.5 + (6.2e-5 |z gain| + |z| / 4 + 2**-15 |gain|) / 2**shift``.

    The machines have none: a mean is taken away offline, from what is added to the residual stream.
    Their RMSNorms are :class:`celosia.rtl.norm.rms_norm.RmsNorm`, which leaves the root to a later
    stage, and :class:`celosia.rtl.norm.stream_norm.StreamNorm`.

    Latency :attr:`latency`, 22 to 25 cycles, from a vector's last word to the first of its result.
    Throughput 1 word per cycle, vector on vector.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    words : int, 1 to 4096
        Words in a vector: ``n = lanes * words`` values, from 2 to 16384.
    width : int, 4 to 18
    epsilon : int, 1 or more
        ``n**2`` times the norm's, in squared units of ``x``; ``n**2 * 4**(width - 1) + epsilon``
        must be below ``2**62``.
    gains : sequence of int16[n]
    biases : sequence of n int, of 18 signed bits
        In units of the result.
    shift : int, 0 to 30
    o_width : int, 4 to 24
    tokens : int, 1 to 64

    Members
    -------
    i : In(stream of framed(lanes, width, tokens))
        The words of one vector after those of another, each from index 0 to ``words - 1``.
    o : Out(stream of framed(lanes, o_width, tokens))
    error : Out(1)
        A vector was not whole; see :class:`celosia.rtl.stream.frame_guard.FrameGuard`.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes, words, width, epsilon, gains, biases, shift=0, o_width=16, tokens=1):
        self._statistics = NormStatistics(lanes, words, width, epsilon)
        n = lanes * words
        self.gains = _vector("gains", gains, n, 16)
        self.biases = _vector("biases", biases, n, BIAS_WIDTH)
        check_range("shift", shift, 0, 30)
        check_range("o_width", o_width, 4, 24)
        check_range("tokens", tokens, 1, 64)
        self.lanes = lanes
        self.words = words
        self.width = width
        self.epsilon = epsilon
        self.shift = shift
        self.o_width = o_width
        self.tokens = tokens
        self.latency = self._statistics.latency + 12
        super().__init__(
            {
                "i": In(stream.Signature(framed(lanes, width, tokens))),
                "o": Out(stream.Signature(framed(lanes, o_width, tokens))),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        n = self.lanes * self.words
        word = self._collected(m)
        pipe = Pipeline(m, word, self.o)
        index = Signal(range(self.words))
        with m.If(word.valid & word.ready):
            m.d.sync += index.eq(Mux(index == self.words - 1, 0, index + 1))
        frame = {name: word.p.word[name] for name in ("token", "argument", "last")}
        frame["index"] = index

        # Through one more register: queues are slow.
        frame, scalars, x = pipe.stage(frame, word.p.scalars, list(word.p.word.data))

        # n x - sum(x), in units of 2**-16 root variances; beside it the gains are read.
        row = self._read(m, pipe, frame["index"])
        d = [multiple(v, n) - scalars.total for v in x]
        frame, d, mantissa, distance = pipe.stage(frame, d, scalars.mantissa, scalars.shift)
        normal = FRACTION + (ceil_log2(n) + 1) // 2 + 1
        x = [Signal(signed(normal), name="normalised") for _ in d]
        m.d.comb += [a.eq((v << FRACTION) >> distance[:5]) for a, v in zip(x, d, strict=True)]
        row = {name: [values[name] for values in row] for name in ("gain", "bias")}
        frame, x, mantissa, row = pipe.stage(frame, x, mantissa, row)

        # The factor: gain by root.
        bias = row["bias"]
        frame, x, bias, factor = pipe.stage(frame, x, bias, [g * mantissa for g in row["gain"]])
        factor = [((f + (1 << 13)) >> 14)[:18].as_signed() for f in factor]
        frame, x, bias, factor = pipe.stage(frame, x, bias, factor)

        # Its product, in two parts; their sum, with the half that rounds it; the bias.
        low = [a[:SPLIT] * f for a, f in zip(x, factor, strict=True)]
        high = [a[SPLIT:].as_signed() * f for a, f in zip(x, factor, strict=True)]
        frame, low, high, bias = pipe.stage(frame, low, high, bias)
        places = FRACTION + 1 + self.shift
        half = 1 << (places - 1)
        y = [(((b << SPLIT) + a + half) >> places) for a, b in zip(low, high, strict=True)]
        frame, y, bias = pipe.stage(frame, y, bias)
        frame, y = pipe.stage(frame, [a + b for a, b in zip(y, bias, strict=True)])
        frame, y = pipe.stage(frame, [clamp(v, self.o_width) for v in y])
        pipe.finish({**frame, "data": y})
        return m

    def _collected(self, m):
        """A stream of words with the statistics of their vectors."""
        m.submodules.guard = guard = FrameGuard(self.i.p.shape(), self.words)
        m.submodules.statistics = statistics = self._statistics
        wiring.connect(m, wiring.flipped(self.i), guard.i)
        layout = tagged(self.lanes, self.width, self.tokens)
        depth = self.words + statistics.latency + 8
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=layout.size, depth=depth)
        vectors = depth // self.words + 2
        scalars = statistics.o.p.shape()
        m.submodules.scalars = ready = fifo.SyncFIFOBuffered(width=scalars.size, depth=vectors)

        entering = Signal(layout)
        shape = data.StructLayout({"word": layout, "scalars": scalars})
        o = stream.Signature(shape).create()
        place = Signal(INDEX_WIDTH)
        with m.If(o.valid & o.ready):
            m.d.sync += place.eq(Mux(place == self.words - 1, 0, place + 1))
        m.d.comb += [
            self.error.eq(guard.error),
            *(entering[name].eq(guard.o.p[name]) for name, _ in layout),
            words.w_data.eq(entering),
            words.w_en.eq(guard.o.valid),
            guard.o.ready.eq(words.w_rdy),
            statistics.i.valid.eq(guard.o.valid & words.w_rdy),
            statistics.i.p.data.eq(guard.o.p.data),
            statistics.i.p.first.eq(guard.o.p.index == 0),
            statistics.i.p.final.eq(guard.o.p.index == self.words - 1),
            ready.w_data.eq(statistics.o.p),
            ready.w_en.eq(statistics.o.valid),
            o.p.word.as_value().eq(words.r_data),
            o.p.scalars.as_value().eq(ready.r_data),
            o.valid.eq(words.r_rdy & ready.r_rdy),
            words.r_en.eq(o.valid & o.ready),
            ready.r_en.eq(o.valid & o.ready & (place == self.words - 1)),
        ]
        return o

    def _read(self, m, pipe, index):
        """The gains and biases of word ``index``, one stage later."""
        shape = data.StructLayout({"gain": signed(16), "bias": signed(BIAS_WIDTH)})
        pairs = [
            {"gain": g, "bias": b}
            for g, b in zip(self.gains.tolist(), self.biases.tolist(), strict=True)
        ]
        rows = [pairs[k : k + self.lanes] for k in range(0, len(pairs), self.lanes)]
        layout = data.ArrayLayout(shape, self.lanes)
        m.submodules.gains = memory = Memory(shape=layout, depth=self.words, init=rows)
        port = memory.read_port()
        m.d.comb += [port.addr.eq(index), port.en.eq(pipe.advance)]
        return list(port.data)


def _vector(name, values, n, width):
    """``values`` as an array, checked."""
    values = np.asarray(values)
    limit = 1 << (width - 1)
    if values.shape != (n,) or values.min() < -limit or values.max() >= limit:
        raise ValueError(f"{name} must be {n} integers of {width} signed bits")
    if not np.array_equal(values, values.astype(np.int64)):
        raise ValueError(f"{name} must be whole numbers")
    return values.astype(np.int64)
