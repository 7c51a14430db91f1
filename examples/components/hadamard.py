"""An outlier, spread over 24 values by a Hadamard transform on two lanes, and gathered again."""

from celosia.rtl.quantize.hadamard import Hadamard
from celosia.sim import bench

x = [0] * 5 + [100] + [0] * 18
y, rest = x, {"token": 0, "argument": 0, "last": 0}
for _ in range(2):
    words = [{"data": y[k : k + 2], "index": k // 2, **rest} for k in range(0, 24, 2)]
    result = bench.run(Hadamard(24, 2, width=8, o_width=10), words)
    y = [value for word in result.outputs["o"] for value in word["data"]]
    print(y, "latency", result.latency)
