"""Softmax of scores in units of 1/16 on two lanes; the fourth of five elements is masked out."""

from celosia.rtl.attention.softmax import Softmax
from celosia.sim import bench

frame = {"token": 0, "argument": 0}
words = [
    {"data": [16, 32], "mask": 0b11, "index": 0, "last": 0, **frame},
    {"data": [0, 99], "mask": 0b01, "index": 1, "last": 0, **frame},
    {"data": [48, 0], "mask": 0b01, "index": 2, "last": 1, **frame},
]
result = bench.run(Softmax(lanes=2, words=8, unit=1 / 16), words)
print([round(p / 65536, 4) for word in result.outputs["o"] for p in word["data"]])
