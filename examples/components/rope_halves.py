"""Llama 3's rotary embedding of a head in halves: (1000, 0) twice, turned at position 3."""

from celosia.reference.model import RopeScaling
from celosia.reference.units.rope import rope_increments
from celosia.rtl.attention.rope_halves import RopeHalves
from celosia.sim import bench

llama_3 = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_seq_len=8192)
unit = RopeHalves(2, head_words=2, increments=rope_increments(4, 500000.0, llama_3).tolist())
frame = {"token": 0, "argument": 0}
words = [
    {"data": [1000, 1000], "index": 0, "last": 0, **frame},
    {"data": [0, 0], "index": 1, "last": 1, **frame},
]
result = bench.run(unit, {"i": words, "position": [3]}, counts=2)
print([value for word in result.outputs["o"] for value in word["data"]])
