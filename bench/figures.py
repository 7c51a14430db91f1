"""The README's figures, measured: ``python bench/figures.py MODEL [--tokenizer FILE] [-o FILE]``.

Runs the machine of configuration ``small`` in simulation and compares every logit: 200 tokens from
the begin token, the same after a prompt, and a prompt of 64 tokens with 1 and with 4 tokens per
pass. Cycles are counted, never timed; only the simulation's speed is a matter of this computer.
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
from celosia.sim.request import Request
from celosia.sim.simulate import compare, machine_verilog, simulate, summary

TEXT = "Once upon a time, there was a little dog who wanted to"


def measure(model, settings, requests):
    """The summaries of ``requests`` on one machine."""
    plan = make_plan(model, load_config("small", settings))
    results = []
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        for request in requests:
            run = simulate(plan, simulation, request)
            result = summary(plan, run, compare(plan, run))
            if not (result["matches_reference"] and result["logits_match"]):
                sys.exit("the machine's output differs from the integer reference")
            results.append(result)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tokenizer")
    parser.add_argument("-o", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    model = load(arguments.model, arguments.tokenizer)
    begin = (model.tokenizer.bos,)
    prompt = tuple(model.tokenizer.encode(TEXT))
    decode, after_prompt = measure(model, (), [Request(begin, 200), Request(prompt, 200)])
    words = (begin + tuple(decode["tokens"]))[:64]
    (single,) = measure(model, (), [Request(words, 1)])
    (grouped,) = measure(model, ("token_parallelism=4",), [Request(words, 1)])
    figures = {
        "model": arguments.model.rsplit("/", 1)[-1],
        "multipliers": decode["multipliers"],
        "logits_equal": [len(r["tokens"]) for r in (decode, after_prompt)],
        "utilisation": [r["utilisation"] for r in (decode, after_prompt)],
        "cycles_at_position_100": decode["cycles"][100],
        "overhead": decode["overhead"],
        "cycles": sum(decode["cycles"]),
        "prefill_cycles": {"1": single["prefill_cycles"], "4": grouped["prefill_cycles"]},
        "prefill_ratio": grouped["prefill_cycles"] / single["prefill_cycles"],
        "simulated_cycles_per_second": decode["simulated_cycles_per_second"],
        "simulated_tokens_per_second": len(decode["tokens"]) / decode["wall_seconds"],
    }
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.o:
        arguments.o.write_text(text + "\n")


if __name__ == "__main__":
    main()
