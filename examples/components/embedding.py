"""Tokens 2, 0 and 9 in a table of three: the last one is not there."""

from celosia.rtl.token.embedding import Embedding
from celosia.sim import bench

unit = Embedding(2, rows=[[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], scales=[100, 200, 300])
result = bench.run(unit, [2, 0, 9], counts=6)
for word in result.outputs["o"]:
    print(word["data"], "times", word["scale"])
print("error", result.signals["error"])
