"""A matrix of four rows transposed, and its rows taken apart into words of two values."""

from celosia.rtl.stream.reshape import Transposer, WidthConverter
from celosia.sim import bench

frame = {"token": 0, "argument": 0}
words = [
    {"data": [4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3], "index": k, "last": int(k == 3), **frame}
    for k in range(4)
]
columns = bench.run(Transposer(4, width=8), words).outputs["o"]
print([word["data"] for word in columns])
parts = bench.run(WidthConverter(4, 2, width=8), columns, counts=8).outputs["o"]
print([word["data"] for word in parts])
