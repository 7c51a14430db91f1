"""Vectors of three words, guarded: the one that breaks off is filled up with zeros."""

from celosia.rtl.quantize.block_quantize import BlockQuantize
from celosia.rtl.stream.frame_guard import Guarded
from celosia.sim import bench

frame = {"token": 0, "argument": 0}
vector = [{"data": [k, -k], "index": k, "last": int(k == 2), **frame} for k in range(3)]
unit = Guarded(BlockQuantize(2, width=16), words=3)
result = bench.run(unit, [*vector[:1], *vector], counts=6)
print([word["data"] for word in result.outputs["o"]], "error", result.signals["error"])
