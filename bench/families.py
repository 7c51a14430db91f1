"""How busy each family's machine is: ``python bench/families.py [FAMILY ...] [-o FILE]``.

A random model of each family, of dim 128, on a machine of 64 multipliers (configuration ``small``)
in simulation: 24 tokens from a begin token, every logit compared. The utilisation is the ideal's
cycles (multiply-accumulates over multipliers; of experts the active ones) over those taken.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference.families import FAMILIES
from celosia.reference.model import ModelConfig, random_model
from celosia.sim.native import NativeSimulation
from celosia.sim.request import Request
from celosia.sim.simulate import compare, machine_verilog, simulate, summary

SIZES = {
    "dim": 128,
    "hidden_dim": 384,
    "n_layers": 2,
    "n_heads": 8,
    "n_kv_heads": 4,
    "head_dim": 16,
    "vocab_size": 512,
    "seq_len": 64,
}
WHOLE = {"n_kv_heads": 8}  # families without shared heads
EXPERTS = {"hidden_dim": 96, "options": {"experts": 8, "chosen": 2}}
#: What a family's model has other than ``SIZES``.
CHANGES = {
    "gpt2": WHOLE,
    "gpt_neo": WHOLE,
    "gpt_neox": WHOLE,
    "opt": WHOLE,
    "hgrn_bit": {"n_heads": 1, "n_kv_heads": 1},
    "mixtral": EXPERTS,
    "qwen3_moe": EXPERTS,
    "olmoe": EXPERTS | WHOLE,
}
TOKENS = 24


def measure(family):
    """The summary of a run of the family's machine."""
    changes = CHANGES.get(family, {})
    model = random_model(ModelConfig(**SIZES | changes, family=family), seed=1)
    plan = make_plan(model, load_config("small"))
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        run = simulate(plan, simulation, Request((1,), TOKENS))
        result = summary(plan, run, compare(plan, run))
    if not (result["matches_reference"] and result["logits_match"]):
        sys.exit(f"{family}: the machine's output differs from the integer reference")
    return {
        "utilisation": result["utilisation"],
        "cycles": sum(result["cycles"]),
        "overhead": result["overhead"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", default=sorted(FAMILIES))
    parser.add_argument("-o", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    known = json.loads(arguments.o.read_text()) if arguments.o and arguments.o.exists() else {}
    for family in arguments.families or sorted(FAMILIES):
        known[family] = found = measure(family)
        print(f"{family:12} {found['utilisation']:.1%} of {found['cycles']:,} cycles", flush=True)
        if arguments.o:
            arguments.o.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


if __name__ == "__main__":
    main()
