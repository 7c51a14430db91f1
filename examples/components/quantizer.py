"""Vectors of 16 values to 4 bits, each with its own scale and zero point."""

import numpy as np
from celosia.rtl.quantize.dynamic_quantizer import DynamicQuantizer
from celosia.sim import bench

x = np.random.default_rng(0).integers(-2000, 6000, (3, 4, 4))  # vectors, words, lanes
frame = {"token": 0, "argument": 0}
words = [
    {"data": word.tolist(), "index": k, "last": int(k == 3), **frame}
    for vector in x
    for k, word in enumerate(vector)
]
quantized, cycles = bench.run(DynamicQuantizer(4, words=4, width=4, symmetric=False), words)
for word, exact in zip(quantized, x.reshape(-1, 4), strict=True):
    scale = word["scale"] / 256
    print([round((q - word["zero_point"]) * scale) for q in word["data"]], "for", exact)
