"""Two sequences share a prompt's blocks; the block that both would write to is copied first."""

from celosia.rtl.kv_cache.kv_paged import KvPaged, Operation, Status
from celosia.sim import bench

APPEND, FREE, FORK = Operation.APPEND, Operation.FREE, Operation.FORK
commands = [(APPEND, 0)] * 5 + [(FORK, 0), (APPEND, 1), (FREE, 0)] + [(APPEND, 1)] * 3
inputs = [{"operation": o, "sequence": s, "target": 1, "length": 0} for o, s in commands]
pages = KvPaged(n_blocks=8, block_size=4, n_sequences=2, max_blocks=8)
answers, cycles = bench.run(pages, inputs, counts=len(inputs))
for answer in answers:
    print(Status(answer["status"]).name, answer["position"], "->", answer["slot"])
