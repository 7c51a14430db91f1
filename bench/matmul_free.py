"""MatMul-free LM in figures: ``python bench/matmul_free.py PART... [-o FILE]``; by default all.

Parts: ``block`` is the case whose FPGA takes 43 ms in arXiv 2406.02528 (dim 512, 60 MHz), on 512
ternary lanes; ``370m``, ``1.3b`` and ``2.7b`` are a layer and the head of the released shapes on
4,096. Weights are random and ternary, every logit is compared with the integer reference. A file
keeps the parts that are done: the same call goes on with the others. The simulation of a part is
built in minutes to an hour; ``CELOSIA_OPTIMISE=-O0`` is the quicker way for so few cycles.
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
from celosia.reference.quantization.calibration import calibrate
from celosia.sim.native import NativeSimulation
from celosia.sim.request import Request
from celosia.sim.simulate import compare, machine_verilog, simulate, summary

TERNARY = ("weight_width=2", "head_width=0", "weight_format=ternary")
#: Of each part: dim, hidden dim, vocabulary, layers of the whole model, weights a cycle, lanes.
PARTS = {
    "block": (512, 1536, 64, 1, 512, 16),
    "370m": (1024, 2816, 32000, 24, 4096, 16),
    "1.3b": (2048, 5632, 32000, 24, 4096, 16),
    "2.7b": (2560, 6912, 32000, 32, 4096, 16),
}
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


def model_config(part, layers=1):
    """The ModelConfig of a part."""
    dim, hidden_dim, vocab_size, *_ = PARTS[part]
    return ModelConfig(
        dim=dim, hidden_dim=hidden_dim, n_layers=layers, n_heads=1, n_kv_heads=1, head_dim=2,
        vocab_size=vocab_size, seq_len=32, tied=False, family="hgrn_bit",
    )  # fmt: skip


def settings(part):
    """Those of a part's machine."""
    *_, parallelism, lanes = PARTS[part]
    return (f"weight_parallelism={parallelism}", f"vector_lanes={lanes}", *TERNARY)


def measured(part):
    """One layer and the head in RTL: a token whose pass stops before the head, and one with it."""
    model = ternary(random_model(model_config(part), seed=1))
    plan = make_plan(model, load_config("small", settings(part)), calibrate(model, [1, 2, 3, 4]))
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        run = simulate(plan, simulation, Request((7, 11), 2))
        done = summary(plan, run, compare(plan, run))
    if not (done["matches_reference"] and done["logits_match"]):
        sys.exit(f"{part}: the machine's output differs from the integer reference")
    (layer, whole, _), (ideal_layer, ideal, _) = done["cycles"], done["ideal_cycles"]
    layers = PARTS[part][3]
    cycles, least = (
        layers * one + both - one for one, both in ((layer, whole), (ideal_layer, ideal))
    )
    return {
        "weights_per_cycle": plan.shape.multipliers,
        "cycles_layer": layer,
        "cycles_layer_and_head": whole,
        "logits_equal": int(np.size(run.logits)),
        "layers": layers,
        "cycles_token": cycles,
        "utilisation": least / cycles,
        "ms_at_60_mhz": cycles / CLOCK * 1e3,
        "overhead_three_tokens": done["overhead"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("-o", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"PART must be among {', '.join(PARTS)}, not {min(unknown)}")
    file = arguments.o
    found = json.loads(file.read_text()) if file and file.exists() else {}
    for part in arguments.parts or PARTS:
        if part not in found:
            found[part] = measured(part)
            if file:
                file.write_text(json.dumps(found, indent=2) + "\n")
        print(part, json.dumps(found[part], indent=2))


if __name__ == "__main__":
    main()
