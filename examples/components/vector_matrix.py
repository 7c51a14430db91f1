"""[[1, 2, 3, 4], [5, 6, 7, 8]] @ (1, 0, -16, 16) on four multipliers, weights from a tape."""

from amaranth import signed
from amaranth.lib import data
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.rtl.memory.tape import Tape
from celosia.sim import bench

weights = data.ArrayLayout(data.ArrayLayout(signed(8), 2), 2)  # a beat: 2 rows of 2 columns
tape = Tape(weights, [[[1, 2], [5, 6]], [[3, 4], [7, 8]]])
words = bench.run(tape, [{"address": 0, "count": 2}], counts=2).outputs["o"]
blocks = [{"mantissa": [1, 0], "exponent": 0}, {"mantissa": [-1, 1], "exponent": 4}]
beats = [
    {"weights": word, "activations": [block], "first": int(k == 0), "last": int(k == 1)}
    for k, (word, block) in enumerate(zip(words, blocks, strict=True))
]
result = bench.run(MacFabric(2, 2), beats, counts=1)
print(result.outputs["o"], "latency", result.latency)
