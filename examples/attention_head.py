"""An attention head composed by hand of the library's units, simulated, and priced on request.

``python examples/attention_head.py`` simulates it and compares it with its NumPy twin and with
floating point; with ``--price`` Yosys counts what it takes of an ECP5.
"""

import sys

import numpy as np
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from celosia.generators.components import synthesis
from celosia.reference.units.hadamard import hadamard
from celosia.reference.units.quantizer import static_quantize
from celosia.reference.units.softmax import softmax
from celosia.rtl.attention.softmax import Softmax
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.parts import word_layout
from celosia.rtl.mac.weight_stationary import WeightStationary
from celosia.rtl.quantize.hadamard import Hadamard
from celosia.rtl.quantize.quantizer import StaticQuantizer
from celosia.rtl.stream.words import framed
from celosia.sim import bench

__all__ = ["AttentionHead", "attention_head", "words"]

SIZE = 8  # channels of a head, and positions
X_WIDTH = 12  # of queries, in units of 1 / 256; of their transform, too
STEP = 16  # what a quantised query or key counts, in units of 1 / 256
UNIT = (STEP / 256) ** 2 / np.sqrt(SIZE)  # of a score, as softmax takes it


class AttentionHead(wiring.Component):
    """``softmax(q @ keys.T / sqrt(8)) @ values`` of each query, over 8 positions of 8 channels.

    Queries are spread by a Hadamard transform and quantised to 8 bits in steps of 1 / 16; keys must
    have been, likewise. Probabilities have 7 bits. Bit-exact with :func:`attention_head`.

    Throughput 1 query per cycle.

    Members
    -------
    i : In(stream of framed(8, 12))
        Queries, a word each, in units of 1 / 256; ``argument`` is 1 with the last one for these
        keys and values, else 0.
    keys : In(stream of {data: signed(8)[8], last: 1})
        Of each channel a word, with a value for each position.
    values : In(stream of {data: signed(8)[8], last: 1})
        Of each position a word, with a value for each channel.
    o : Out(stream of {data: signed(19)[8], last: 1})
        In 1 / 128 of the values' unit.
    """

    def __init__(self):
        weights, sums = (stream.Signature(word_layout(width, SIZE)) for width in (8, 19))
        queries = stream.Signature(framed(SIZE, X_WIDTH))
        super().__init__(
            {"i": In(queries), "keys": In(weights), "values": In(weights), "o": Out(sums)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.transform = transform = Hadamard(SIZE, SIZE, X_WIDTH)
        m.submodules.quantize = quantize = StaticQuantizer(
            SIZE, [1], STEP.bit_length() - 1, X_WIDTH
        )
        m.submodules.scores = scores = WeightStationary(SIZE, SIZE, MacFormat(8, 8))
        m.submodules.softmax = softmax = Softmax(SIZE, 1, UNIT, scores.acc_width, o_width=8)
        m.submodules.mix = mix = WeightStationary(SIZE, SIZE, MacFormat(8, 8))

        connect(m, flipped(self.i), transform.i)
        connect(m, transform.o, quantize.i)
        connect(m, flipped(self.keys), scores.weights)
        connect(m, flipped(self.values), mix.weights)
        connect(m, mix.o, flipped(self.o))
        word, exponentials = scores.o.p, softmax.o.p
        _link(m, quantize.o, scores.i, data=quantize.o.p.data, last=quantize.o.p.argument[0])
        frame = {"mask": -1, "index": 0, "token": 0, "last": 1}
        _link(m, scores.o, softmax.i, data=word.data, argument=word.last, **frame)
        halves = [p[1:] for p in exponentials.data]  # 7 bits: the array's activations have a sign
        _link(m, softmax.o, mix.i, data=halves, last=exponentials.argument[0])
        return m


def _link(m, source, target, data, **members):
    """Words of ``source`` to ``target``, with these members."""
    m.d.comb += [target.valid.eq(source.valid), source.ready.eq(target.ready)]
    m.d.comb += [there.eq(value) for there, value in zip(target.p.data, data, strict=True)]
    m.d.comb += [target.p[name].eq(value) for name, value in members.items()]


def attention_head(queries, keys, values):
    """The twin: int64[n, 8] of queries int[n, 8], keys and values int[8, 8]."""
    q = static_quantize(hadamard(queries, SIZE, X_WIDTH), 1, STEP.bit_length() - 1)
    p = softmax(q.astype(np.int64) @ keys.T, UNIT, SIZE, 1, width=8)
    return (p.astype(np.int64) >> 1) @ values


def words(queries, keys, values):
    """The streams' payloads, for :func:`celosia.sim.bench.run`."""
    frame = {"index": 0, "token": 0, "last": 1}
    last = len(queries) - 1
    return {
        "i": [{"data": q, "argument": int(n == last), **frame} for n, q in enumerate(queries)],
        "keys": [{"data": k, "last": int(n == SIZE - 1)} for n, k in enumerate(keys.T)],
        "values": [{"data": v, "last": int(n == SIZE - 1)} for n, v in enumerate(values)],
    }


def main(price=False):
    """Simulate 32 queries; with ``price`` count cells, too."""
    chooser = np.random.default_rng(0)
    queries, exact_keys = chooser.normal(0, 256, (32, SIZE)), chooser.normal(0, 256, (SIZE, SIZE))
    values = chooser.integers(-100, 100, (SIZE, SIZE))
    queries, transformed = (np.rint(x).astype(np.int64) for x in (queries, exact_keys))
    keys = static_quantize(hadamard(transformed, SIZE, X_WIDTH), 1, STEP.bit_length() - 1)
    inputs = words(queries.tolist(), keys.astype(np.int64), values)
    inputs = {n: [w | {"data": list(map(int, w["data"]))} for w in s] for n, s in inputs.items()}
    result = bench.run(AttentionHead(), inputs, len(queries))
    found = np.array([word["data"] for word in result.outputs["o"]])
    twin = attention_head(queries, keys.astype(np.int64), values)
    print("equal to the twin:", np.array_equal(found, twin))
    powers = np.exp(queries @ transformed.T / 256**2 / np.sqrt(SIZE))
    exact = powers / powers.sum(axis=1, keepdims=True) @ values
    print(f"largest error: {np.abs(found / 128 - exact).max():.2f} of values up to 100")
    print(f"{len(queries)} queries: {result.cycles} cycles, the first after {result.latency}")
    if price:
        print("on an ECP5:", synthesis.synthesise(AttentionHead(), "ecp5"))


if __name__ == "__main__":
    main("--price" in sys.argv[1:])
