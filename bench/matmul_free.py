"""One block of MatMul-free LM, dim 512, in RTL: ``python bench/matmul_free.py [-o FILE]``.

The case whose FPGA takes 43 ms in arXiv 2406.02528 (60 MHz): random ternary weights, 512 ternary
lanes, every logit of some tokens compared. Cycles are those of whole tokens, with embedding and a
head of 64 rows.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference.model import ModelConfig, random_model
from celosia.sim.native import NativeSimulation
from celosia.sim.request import Request
from celosia.sim.simulate import compare, machine_verilog, simulate, summary

CONFIG = ModelConfig(
    dim=512,
    hidden_dim=1536,
    n_layers=1,
    n_heads=1,
    n_kv_heads=1,
    head_dim=2,
    vocab_size=64,
    seq_len=32,
    tied=False,
    family="hgrn_bit",
)
SETTINGS = (
    *("weight_parallelism=512", "vector_lanes=16"),
    *("weight_width=2", "head_width=0", "weight_format=ternary"),
)
TOKENS = 4
CLOCK = 60e6  # Hz, the published one's


def ternary(model):
    """The model with every matrix but the embedding rounded to -m, 0 and m."""

    def rounded(name, tensor):
        if tensor.ndim < 2 or name == "embedding":
            return tensor
        mean = np.abs(tensor).mean(dtype=np.float32)
        return (np.clip(np.rint(tensor / mean), -1, 1) * mean).astype(np.float32)

    parts = [{n: rounded(n, t) for n, t in each.items()} for each in (model.tensors, *model.layers)]
    return replace(model, tensors=parts[0], layers=parts[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    plan = make_plan(ternary(random_model(CONFIG, seed=1)), load_config("small", SETTINGS))
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        run = simulate(plan, simulation, Request((1,), TOKENS))
        result = summary(plan, run, compare(plan, run))
    if not (result["matches_reference"] and result["logits_match"]):
        sys.exit("the machine's output differs from the integer reference")
    cycles = max(result["cycles"])
    found = {
        "cycles": cycles,
        "ms_at_60_mhz": cycles / CLOCK * 1e3,
        "utilisation": result["utilisation"],
        "overhead": result["overhead"],
    }
    print(json.dumps(found, indent=2))
    if arguments.o:
        arguments.o.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
