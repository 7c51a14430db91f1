"""A function of your own in hardware: softplus on [-8, 8) to 8 bits behind the point."""

import numpy as np
from celosia.reference.functions.function_table import function_table
from celosia.rtl.functions.function_table import Function
from celosia.sim import bench

table = function_table(lambda x: np.log1p(np.exp(x)), -1024, 1024, 7, 8, bound=0.75)
print(f"{table.segments} segments, {table.bits} bits, largest error {table.error:.3f} / 256")
frame = {"token": 0, "index": 0, "argument": 0, "last": 1}
words = [{"data": [x], **frame} for x in (-1024, -128, 0, 128, 1023)]
for word, result in zip(words, bench.run(Function(table), words).outputs["o"], strict=True):
    print(f"softplus({word['data'][0] / 128:.3f}) = {result['data'][0] / 256:.3f}")
