"""SmolLM2-135M-Instruct in RTL: ``python bench/smollm2.py WHAT [-o FILE]``.

``answer``: all 30 layers at 256 multipliers answer a question, weights of 8 bits in groups of 32,
the tape behind five AXI4 read ports of 512 bits. ``bandwidth``: two tokens with the file's own
4-bit groups (its head in 8 bits), the tape behind one port of 64 bits, which is then the limit.
``w4a8kv4`` and ``w4a4kv8``: the same question in these widths, the file's own groups, the tape
behind three ports; keys of 4 bits behind a Hadamard transform of each head (R3). Every logit is
compared with the integer reference. ``reference``: the tokens per second of that reference alone,
which is a matter of this computer. Needs `celosia fetch smollm2`, about 5 GB of memory, and about
10 minutes.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference import integer
from celosia.reference.checkpoint import load
from celosia.reference.quantization.quantize import Scheme, quantize
from celosia.rtl.memory.axi_tape import port_width
from celosia.rtl.memory.gearbox import packed_width
from celosia.sim.native import NativeSimulation
from celosia.sim.request import Request
from celosia.sim.simulate import compare, machine_verilog, simulate, summary

QUESTION = """\
<|im_start|>user
What is the capital of France?<|im_end|>
<|im_start|>assistant
"""
COMMON = ("token_parallelism=1", "max_seq_len=128", "memory=axi", "group_size=32")
WEIGHTS = ("axi_width=512", "axi_ports=3", "weight_width=4", "head_width=8")
CLOSE = ("value_steps=token", "key_mean=removed")
SETTINGS = {
    "answer": ("axi_width=512", "axi_ports=5"),
    "bandwidth": ("axi_width=64", "axi_ports=1", "weight_width=4", "head_width=8"),
    "w4a8kv4": (*WEIGHTS, *CLOSE, "key_width=4", "value_width=4", "rotate_keys=64"),
    "w4a4kv8": (*WEIGHTS, *CLOSE, "activation_width=4"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=[*SETTINGS, "reference"])
    parser.add_argument("-o", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    model = load("smollm2")
    if arguments.what == "reference":
        reference_speed(model)
        return
    plan = make_plan(model, load_config("large", (*COMMON, *SETTINGS[arguments.what])))
    prompt, count = tuple(model.tokenizer.encode(QUESTION, bos=False)), 8
    if arguments.what == "bandwidth":
        prompt, count = prompt[:1], 2
    tokens = []

    def heard(token):
        tokens.append(token)
        print(repr(model.tokenizer.decode(tokens)), flush=True)

    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        run = simulate(plan, simulation, Request(prompt, count), heard)
    result = summary(plan, run, compare(plan, run))
    result["text"] = model.tokenizer.decode(run.tokens)
    result["memory"] = traffic(plan, result["cycles"][-1])
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.o:
        arguments.o.write_text(text + "\n")
    sys.exit(not (result["matches_reference"] and result["logits_match"]))


def reference_speed(model):
    """Print how fast the integer model goes on from the question."""
    quantized = quantize(model, Scheme(lanes=16, weight_width=4, head_width=8, group=32))
    prompt = model.tokenizer.encode(QUESTION, bos=False)
    cache = integer.IntegerCache.empty(quantized, 128)
    integer.forward(quantized, prompt[:-1], cache, all_logits=False)
    begin = time.perf_counter()
    tokens, _ = integer.generate(quantized, prompt[-1:], 24, cache=cache)
    seconds = time.perf_counter() - begin
    print(f"{model.tokenizer.decode(tokens)!r}: {len(tokens) / seconds:.1f} tokens/s")


def traffic(plan, cycles):
    """What the last token's pass of ``cycles``, which has logits, read, and how busy that was."""
    c, shape = plan.config, plan.shape
    words = plan.program.weight_words[1] + plan.program.loads[0].words
    width = packed_width(port_width(shape.word_width, c.axi_ports), c.axi_width) * c.axi_ports
    return {
        "bytes_per_token": words * width // 8,
        "bandwidth_used": words * width / (cycles * c.axi_width * c.axi_ports),
        "tokens_per_second_per_gb_per_second": 1e9 / (cycles * c.axi_width * c.axi_ports / 8),
    }


if __name__ == "__main__":
    main()
