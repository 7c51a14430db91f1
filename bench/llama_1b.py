"""A token of Llama-3.2-1B's shapes at FlexLLM's decode width: ``python bench/llama_1b.py``.

One layer and the head (dim 2048, 32/8 heads of 64, hidden 8192, vocabulary 128256; random weights
of 4 bits) on 1024 multipliers, the tape behind eight AXI4 read ports of 512 bits, the token at
position 1024 of an empty cache. Logits are compared with the integer reference. The whole model's
cycles are those of the layer 16 times and of everything else once; both are measured, by a second
token whose pass stops before the head. The weight stream alone needs 1,207,296 cycles; FlexLLM's
measured 9.63 ms at 292 MHz are 2,812,000.

``--w4a4kv8``: FlexLLM's scheme, with Hadamard transforms of each head (R3) and of blocks of a word
in front of ``down`` (R4) in the stream: what the cycle model predicts, with as many multipliers,
with two weights in each, and with half as many.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from celosia.generators.config import load_config
from celosia.generators.estimate.cycles import predict
from celosia.generators.estimate.sketch import make_sketch
from celosia.generators.plan import make_plan
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.quantization.calibration import calibrate
from celosia.rtl.machine.run_counters import COUNTERS
from celosia.sim.driver import Driver
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from celosia.sim.simulate import decode_logits, machine_verilog

POSITION = 1024
LAYERS = 16
SETTINGS = (
    *("weight_parallelism=1024", "vector_lanes=32", "token_parallelism=1", "weight_width=4"),
    *("memory=axi", "axi_width=512", "axi_ports=8", "max_seq_len=1056"),
)
CONFIG = ModelConfig(
    dim=2048, hidden_dim=8192, n_layers=1, n_heads=32, n_kv_heads=8, head_dim=64,
    vocab_size=128256, seq_len=2048, rope_theta=500000.0, tied=True,
)  # fmt: skip

SCHEME = (
    *("activation_width=4", "rotate_keys=64", "rotate_down=32"),
    *("value_steps=token", "key_mean=removed"),
)
MACHINES = {
    "1,024 multipliers": (),
    "512 multipliers, two weights in each": ("vector_lanes=16", "packing=18x18"),
    "1,024 multipliers, two weights in each": (
        *("weight_parallelism=2048", "axi_ports=16", "packing=18x18"),
    ),
}


def predicted():
    """Of each machine its multipliers, and the cycles of 16 layers and the head."""
    found = {}
    for name, settings in MACHINES.items():
        config = load_config("large", (*SETTINGS, *SCHEME, *settings))
        sketch = make_sketch(CONFIG, config)
        layer = predict(sketch, 2, 1, start=POSITION - 1, latency=60).cycles[0]
        (whole,) = predict(sketch, 1, 1, start=POSITION, latency=60).cycles
        cycles = (LAYERS - 1) * layer + whole
        found[name] = {"settings": [*SETTINGS, *SCHEME, *settings], "predicted_cycles": cycles}
        print(f"{name}: {cycles:,} cycles", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", type=Path, metavar="FILE")
    parser.add_argument("--w4a4kv8", action="store_true")
    arguments = parser.parse_args()
    if arguments.w4a4kv8:
        text = json.dumps(predicted(), indent=2)
        if arguments.o:
            arguments.o.write_text(text + "\n")
        return
    model = random_model(CONFIG)
    plan = make_plan(model, load_config("large", SETTINGS), calibrate(model, [1, 2, 3, 4]))
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        for port, image in enumerate(plan.images()):
            simulation.memory(port, image, latency=60)
        driver = Driver(NativeTransport(simulation), COUNTERS, patience=1e9)
        # Two tokens of prompt: the first one's pass has no head, the second one's has.
        run = driver.run([7, 11], 1, start=POSITION - 1)
        token = [t.token for t in run]
        _, payload = simulation.taps("passes")
        cycles = [int.from_bytes(p.tobytes(), "little") >> 28 for p in payload]
        logits = decode_logits(plan.shape, simulation.taps("logits")[1])
    cache = integer.IntegerCache.empty(plan.model, plan.shape.max_seq_len)
    cache.length = POSITION - 1
    expected = integer.forward(plan.model, [7, 11], cache, all_logits=False)
    if not np.array_equal(logits, expected) or token != [int(expected[-1].argmax())]:
        sys.exit("the machine's output differs from the integer reference")
    layer, whole = cycles
    ideal = plan.ideal_cycles(POSITION)
    layer_ideal = plan.ideal_cycles(POSITION, logits=False)
    result = {
        "position": POSITION,
        "multipliers": plan.shape.multipliers,
        "cycles_layer": layer,
        "cycles_layer_and_head": whole,
        "cycles_16_layers_and_head": LAYERS * layer + whole - layer,
        "ideal_cycles_16_layers_and_head": LAYERS * layer_ideal + ideal - layer_ideal,
        "weight_stream_cycles": 1_207_296,
        "flexllm_cycles": round(9.63e-3 * 292e6),
        "logits_equal": len(expected[0]),
        "counters": run.done.counters,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.o:
        arguments.o.write_text(text + "\n")


if __name__ == "__main__":
    main()
