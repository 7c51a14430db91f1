"""How much of an SDRAM's bandwidth a model of 10 million parameters uses over a token, measured.

    python bench/sdram.py [--position 100] [--tokens 2] [--json FILE]

The model has random weights (8 bits) and fits a ULX3S-85F but for its tape, which lies in the
SDRAM. Its machine is simulated; the tokens are compared with the integer reference. The share is
the tape's words of 16 bits, as they are used, over the cycles of a token: the SDRAM's sequential
bandwidth is one word a cycle, of which its refreshes take 2 %.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from celosia.boards.catalog import BOARDS
from celosia.boards.estimate import check_fit
from celosia.generators.config import Config
from celosia.generators.plan import make_plan
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.rtl.machine.run_counters import COUNTERS
from celosia.rtl.memory.gearbox import packed_width
from celosia.sim.driver import Driver
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from celosia.sim.simulate import machine_verilog

MODEL = ModelConfig(
    dim=320, hidden_dim=896, n_layers=8, n_heads=8, n_kv_heads=2, head_dim=40, vocab_size=4096,
    seq_len=128, tied=True,
)  # fmt: skip
CONFIG = Config(weight_parallelism=32, vector_lanes=4, max_seq_len=128, memory="sdram")


def parameters(model):
    """How many weights there are."""
    layer = model.dim * model.head_dim * 2 * (model.n_heads + model.n_kv_heads)
    layer += 3 * model.dim * model.hidden_dim
    return model.n_layers * layer + model.vocab_size * model.dim


def tape_words(plan):
    """Words of 16 bits that a pass over the tape with logits reads, the embedding's among them."""
    program = plan.program
    beats = program.weight_words[1] + program.loads[0].words
    return beats * packed_width(plan.shape.word_width, 16) // 16


def passes(simulation):
    """``(position, cycles)`` of each pass."""
    _, payload = simulation.taps("passes")
    bits = [int.from_bytes(octets.tobytes(), "little") for octets in payload]
    return [(n & 0xFFFFF, n >> 28) for n in bits]


def measure(plan, position, n_tokens):
    """Cycles of the passes from ``position`` on, and the counters of the run."""
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        image = plan.images()[0]
        simulation.sdram(image)
        driver = Driver(NativeTransport(simulation), COUNTERS, patience=1e9)
        driver.checksum(0, len(image))
        first = driver.run([1], n_tokens)
        tokens = [token.token for token in first]
        expected, _ = integer.generate(plan.model, [1], n_tokens)
        assert tokens == expected, (tokens, expected)
        simulation.forget()
        # What lies in the cache before this position does not matter for the time.
        run = driver.run([1], n_tokens, start=position)
        for token in run:
            say(f"token {token.token} at cycle {token.cycles:,}")
        return passes(simulation), run.done.counters


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--position", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    check_fit(MODEL, CONFIG, BOARDS["ulx3s_85f"])
    say(f"a model of {parameters(MODEL):,} parameters")
    plan = make_plan(random_model(MODEL, seed=0), CONFIG)
    words = tape_words(plan)
    say(f"a tape of {words:,} words of 16 bits per token")
    measured, counters = measure(plan, args.position, args.tokens)
    last, cycles = measured[-1]
    result = {
        "parameters": parameters(MODEL),
        "weight_width": CONFIG.weight_width,
        "weight_parallelism": CONFIG.weight_parallelism,
        "position": last,
        "words": words,
        "cycles_per_token": cycles,
        "bandwidth": words / cycles,
        "tokens_per_second_at_80_mhz": 80e6 / cycles,
        "counters": counters,
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
