"""The embedding look-up from on-chip memory: a vector of words for each token."""

import numpy as np
from amaranth import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.rtl.stream.checks import check_power_of_two, check_range
from celosia.rtl.stream.pipeline import Pipeline
from celosia.rtl.stream.words import framed

__all__ = ["Embedding"]


class Embedding(wiring.Component):
    """``rows[token]`` for each token, with ``scales[token]`` beside every word.

    Equal to :func:`celosia.reference.units.embedding.embedding`. A token that the table does not
    have gives zeros.

    Latency 4 cycles. Throughput 1 word per cycle, vector on vector.

    Parameters
    ----------
    lanes : int, a power of two from 1 to 64
    rows : int[vocab_size, dim]
        Of ``width`` signed bits; ``vocab_size`` from 1 to 2**20, ``dim`` a multiple of ``lanes``.
    scales : int[vocab_size], each from 0 to 2**16 - 1
    width : int, 2 to 16

    Members
    -------
    i : In(stream of unsigned(20))
        Tokens.
    o : Out(stream of framed(lanes, width, scale=unsigned(16)))
        ``last`` with each vector's last word.
    error : Out(1)
        Set, until reset, by a token that is not there.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 4

    def __init__(self, lanes, rows, scales, width=8):
        check_power_of_two("lanes", lanes, 64)
        check_range("width", width, 2, 16)
        rows, scales = np.asarray(rows), np.asarray(scales)
        if rows.ndim != 2 or not len(rows) or not rows.shape[1] or rows.shape[1] % lanes:
            raise ValueError(
                f"rows must have a multiple of {lanes} columns, not the shape {rows.shape}"
            )
        check_range("vocab_size", len(rows), 1, 1 << 20)
        limit = 1 << (width - 1)
        if rows.min() < -limit or rows.max() >= limit:
            raise ValueError(f"rows must be integers of {width} signed bits")
        if scales.shape != (len(rows),):
            raise ValueError(f"scales must be {len(rows)} numbers, not of the shape {scales.shape}")
        if scales.min() < 0 or scales.max() >= 1 << 16:
            raise ValueError("scales must be from 0 to 65535")
        self.lanes = lanes
        self.rows = rows
        self.scales = scales
        self.width = width
        o = framed(lanes, width, scale=unsigned(16))
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(20))),
                "o": Out(stream.Signature(o)),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        vocab_size, words = len(self.rows), self.rows.shape[1] // self.lanes
        word = stream.Signature(0).create()
        pipe = Pipeline(m, word, self.o)
        index, last, there = Signal(range(words)), Signal(), Signal()
        m.d.comb += [
            last.eq(index == words - 1),
            there.eq(self.i.payload < vocab_size),
            word.valid.eq(self.i.valid),
            self.i.ready.eq(word.ready & last),
        ]
        with m.If(word.valid & word.ready):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
            m.d.sync += self.error.eq(self.error | ~there)
        row = data.ArrayLayout(signed(self.width), self.lanes)
        table = self.rows.reshape(-1, self.lanes).tolist()
        frame, token, place, there = pipe.stage(
            {"index": index, "last": last}, self.i.payload, self.i.payload * words + index, there
        )
        found = self._read(m, pipe, row, table, place)
        scale = self._read(m, pipe, unsigned(16), self.scales.tolist(), token)
        frame, there = pipe.stage(frame, there)
        frame, there, found, scale = pipe.stage(frame, there, found, scale)  # memories are slow
        values = [Mux(there, x, 0) for x in found]
        frame, values, scale = pipe.stage(frame, values, Mux(there, scale, 0))
        pipe.finish({**frame, "data": values, "scale": scale})
        return m

    def _read(self, m, pipe, shape, rows, address):
        memory = Memory(shape=shape, depth=max(2, len(rows)), init=rows)
        m.submodules += memory
        port = memory.read_port()
        m.d.comb += [port.addr.eq(address), port.en.eq(pipe.advance)]
        return port.data
