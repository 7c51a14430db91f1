"""LayerNorm of four values on two lanes: mean 0 and variance 1, in units of 2**-12."""

from celosia.rtl.norm.layer_norm import LayerNorm
from celosia.sim import bench

unit = LayerNorm(2, 2, width=8, epsilon=1, gains=[1 << 12] * 4, biases=[0] * 4)
frame = {"token": 0, "argument": 0, "last": 0}
words = [{"data": d, "index": k, **frame} for k, d in enumerate([[10, 20], [30, 40]])]
result = bench.run(unit, words)
print([round(v / 4096, 2) for word in result.outputs["o"] for v in word["data"]])
print("latency", result.latency, "cycles")
