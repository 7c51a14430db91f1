"""SmolLM2-135M-Instruct answers a question in simulated RTL: ``python bench/smollm2.py [-o FILE]``.

All 30 layers on real weights (8 bits per row, from the file's 4-bit ones) at 256 multipliers, the
tape behind four AXI4 read ports of 512 bits. Every logit is compared with the integer reference.
Needs `celosia fetch smollm2`, about 4 GB of memory, and on two cores about 10 minutes.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import load
from celosia.sim.native import NativeSimulation
from celosia.sim.simulate import Request, compare, machine_verilog, simulate, summary

QUESTION = """<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
<|im_start|>user
What is the capital of France?<|im_end|>
<|im_start|>assistant
"""
SETTINGS = (
    *("token_parallelism=1", "max_seq_len=128"),
    *("memory=axi", "axi_width=512", "axi_ports=4"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    model = load("smollm2")
    plan = make_plan(model, load_config("large", SETTINGS))
    request = Request(tuple(model.tokenizer.encode(QUESTION, bos=False)), 8)
    tokens = []

    def heard(token):
        tokens.append(token)
        print(repr(model.tokenizer.decode(tokens)), flush=True)

    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        run = simulate(plan, simulation, request, heard)
    result = summary(plan, run, compare(plan, run))
    result["text"] = model.tokenizer.decode(run.tokens)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.o:
        arguments.o.write_text(text + "\n")
    sys.exit(not (result["matches_reference"] and result["logits_match"]))


if __name__ == "__main__":
    main()
