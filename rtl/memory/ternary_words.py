"""Ternary weights out of bytes that hold five each, at full rate."""

import numpy as np
from amaranth import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from celosia.reference.quantization.trits import TRITS, packed_size, unpack_trits
from celosia.rtl.stream.checks import check_range
from celosia.rtl.stream.pipeline import Pipeline

__all__ = ["TernaryWords", "octets_layout"]


class TernaryWords(wiring.Component):
    """Words of ``rows * lanes`` weights, from bytes.

    As :mod:`celosia.reference.quantization.trits` has them: a table of 256 words for every two
    bytes, which block RAM holds. Bytes of 243 and more, which no tape has, give zeros.

    Latency 2 cycles. Throughput 1 word per cycle.

    Parameters
    ----------
    rows : int, 1 to 1024
    lanes : int, 1 to 64
    octets : bool
        The bytes themselves come beside the weights.

    Members
    -------
    i : In(stream of uint8[rows * lanes / 5, rounded up])
    o : Out(stream of int2[rows, lanes], or of ``weights`` and ``octets``)

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    latency = 2

    def __init__(self, rows, lanes, octets=False):
        check_range("rows", rows, 1, 1024)
        check_range("lanes", lanes, 1, 64)
        self.rows = rows
        self.lanes = lanes
        self.octets = octets
        octets = data.ArrayLayout(unsigned(8), packed_size(rows * lanes))
        word = data.ArrayLayout(data.ArrayLayout(signed(2), lanes), rows)
        if self.octets:
            word = octets_layout(word, octets)
        super().__init__({"i": In(stream.Signature(octets)), "o": Out(stream.Signature(word))})

    def elaborate(self, platform):
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        octets = list(self.i.payload)
        decoded = []
        for first in range(0, len(octets), 2):
            pair = octets[first : first + 2]
            m.submodules[f"table_{first}"] = table = Memory(
                shape=data.ArrayLayout(signed(2), TRITS), depth=256, init=_table()
            )
            for octet in pair:
                port = table.read_port()
                m.d.comb += [port.addr.eq(octet), port.en.eq(pipe.advance)]
                decoded += list(port.data)
        (octets,) = pipe.stage(octets if self.octets else [])
        decoded, octets = pipe.stage(decoded, octets)
        word = self.o.p
        if self.octets:
            m.d.comb += [a.eq(b) for a, b in zip(word.octets, octets, strict=True)]
            word = word.weights
        m.d.comb += [
            weight.eq(decoded[row * self.lanes + lane])
            for row, weights in enumerate(word)
            for lane, weight in enumerate(weights)
        ]
        pipe.finish({})
        return m


def octets_layout(weights, octets):
    """Weights, and the bytes that they came from."""
    return data.StructLayout({"weights": weights, "octets": octets})


def _table():
    """The five weights of each byte."""
    codes = np.arange(3**TRITS, dtype=np.uint8)[:, None]
    rows = unpack_trits(codes, TRITS).tolist()
    return rows + [[0] * TRITS] * (256 - len(rows))
