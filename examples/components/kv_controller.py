"""Two sequences share a prompt's blocks; the block that both would write to is copied first."""

from celosia.rtl.kv_cache.kv_controller import Operation, Status
from celosia.rtl.kv_cache.kv_paged import KvPaged
from celosia.sim import bench

APPEND, READ, FORK = Operation.APPEND, Operation.READ, Operation.FORK
commands = [(APPEND, 0, 0)] * 5 + [(FORK, 0, 1), (APPEND, 1, 0), (READ, 0, 0), (READ, 1, 0)]
inputs = [dict(zip(("operation", "sequence", "target"), c, strict=True)) for c in commands]
pages = KvPaged(n_blocks=8, block_size=4, n_sequences=2, max_blocks=8)
answers, cycles = bench.run(pages, inputs, counts=5 + 1 + 1 + 5 + 6)
for answer in answers:
    print(Status(answer["status"]).name, answer["position"], "->", answer["slot"])
