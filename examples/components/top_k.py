"""The five best of 32 tokens, and ten draws among them at temperature 1."""

import numpy as np
from celosia.rtl.token.top_k import TopK, TopKSampler
from celosia.sim import bench

logits = np.random.default_rng(0).normal(0, 4096, (8, 4)).astype(int)  # units of 2**-12
frame = {"token": 0, "argument": 0}
words = [
    {"data": word.tolist(), "index": n, "last": int(n == 7), **frame}
    for n, word in enumerate(logits)
]
best, cycles = bench.run(TopK(lanes=4, k=5, vocab_size=32), words, counts=5)
print([(entry["token"], entry["logit"] / 4096) for entry in best])
sampler = TopKSampler(lanes=4, k=5, vocab_size=32)
drawn, cycles = bench.run(sampler, {"i": words * 10}, counts=10, settings={"temperature": 256})
print([answer["token"] for answer in drawn])
