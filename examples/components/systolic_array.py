"""[[1, 2], [3, 4]] @ [[5, 6], [7, 8]] on four processing elements; weights stay in place."""

from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.weight_stationary import WeightStationary
from celosia.sim import bench

unit = WeightStationary(2, 2, MacFormat(activation_width=8, weight_width=8))
weights = [{"data": [5, 6], "last": 0}, {"data": [7, 8], "last": 1}]
activations = [{"data": [1, 2], "last": 0}, {"data": [3, 4], "last": 1}]
result = bench.run(unit, {"weights": weights, "i": activations}, 2)
print([word["data"] for word in result.outputs["o"]])
