"""A sliding window over vectors in 4 bits: the ring says where, the store keeps them."""

import numpy as np
from celosia.reference.units.kv_controller import KvRing, Operation
from celosia.rtl.kv_cache.kv_store import Access, KvStore
from celosia.sim import bench

ring, rng = KvRing(n_slots=4, window=3), np.random.default_rng(0)
keys = rng.integers(-3000, 3000, (6, 4))
slots = [ring(Operation.APPEND, 0)[0]["slot"] for _ in keys]
window = [answer["slot"] for answer in ring(Operation.READ, 0)]
command = [{"access": Access.WRITE, "slot": slot, "source": 0} for slot in slots]
command += [{"access": Access.READ, "slot": slot, "source": 0} for slot in window]
words = [{"data": k, "token": 0, "index": 0, "argument": 0, "last": 1} for k in keys]
store = KvStore(n_slots=4, lanes=4, words=1, width=4)
read, cycles = bench.run(store, {"command": command, "i": words}, counts=3)
for word, key in zip(read, keys[-3:], strict=True):
    print([round(q * word["scale"] / 256) for q in word["data"]], "for", key)
