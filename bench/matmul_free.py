"""Ternary models in figures: ``python bench/matmul_free.py PART... [-o FILE]``; by default all.

Parts: ``block`` is the case whose FPGA takes 43 ms in arXiv 2406.02528 (dim 512, 60 MHz), on 512
ternary lanes; ``370m``, ``1.3b`` and ``2.7b`` are the released MatMul-free shapes on 4,096;
``bitnet`` is BitNet-b1.58-2B-4T's at 250 MHz and 16 GB/s. Of each the cycle model's predictions
(seconds). Of some also a layer and the head in RTL (:data:`SIMULATED`): weights are random and
ternary, every logit is compared with the integer reference; BitNet's head has fewer rows there. A
file keeps what is done: the same call goes on with the rest. Such a simulation is built in ten
minutes to an hour; ``CELOSIA_OPTIMISE=-O0`` is the quicker way for so few cycles. ``--predict``
builds none.
``--cells`` has Yosys count the block on an ECP5 and on a 7-series device, which takes an hour each.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from celosia.generators.components.synthesis import synthesise
from celosia.generators.config import load_config
from celosia.generators.estimate.cycles import predict
from celosia.generators.estimate.sketch import make_sketch
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
SIMULATED = "block", "370m", "bitnet"
TARGETS = "ecp5", "xilinx"
CLOCK = 60e6  # Hz, the published one's
#: Weights behind eight AXI ports, five in a byte: slower than the fabric.
BOUND = {"weight_format": "trits", "memory": "axi", "axi_width": 512, "axi_ports": 8}
BITNET = ModelConfig(
    dim=2560, hidden_dim=6912, n_layers=30, n_heads=20, n_kv_heads=5, head_dim=128,
    vocab_size=128256, seq_len=4096, rope_theta=5e5, tied=True, family="bitnet",
)  # fmt: skip
#: Weights and cache behind a port of 64 bytes each: at 250 MHz 16 GB/s for the weights. A beat of
#: the port has five ternary weights in each byte, or the head's of as many multipliers.
BITNET_MACHINE = {
    "weight_parallelism": 320, "vector_lanes": 8, "token_parallelism": 1, "weight_width": 2,
    "weight_format": "trits", "memory": "axi", "axi_width": 512, "kv_memory": "axi",
    "kv_axi_width": 512, "max_seq_len": 128,
}  # fmt: skip
HEADS = {4: 128, 8: 64}  # bits of the head, multipliers of it, and of keys and values
BITNET_CLOCK, POSITION = 250e6, 100
BITNET_ROWS = 512  # of the simulated head


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


def configured(base, values):
    """A configuration with settings by name."""
    return load_config(base, [f"{name}={value}" for name, value in values.items()])


def predicted(part):
    """A token of the whole model by the cycle model, weights on chip; W/B where memory binds."""
    *_, layers, parallelism, least = PARTS[part]
    model, found = model_config(part, layers), {}
    for lanes in (16, 32) if parallelism >= 4096 else (least,):
        machine = {"weight_parallelism": parallelism, "vector_lanes": lanes, "weight_width": 2}
        sketch = make_sketch(model, configured("small", machine | {"weight_format": "ternary"}))
        run = predict(sketch, 2, 2)
        found[f"lanes_{lanes}"] = {
            "cycles_token": run.cycles[1],
            "utilisation": run.ideal_cycles[1] / run.cycles[1],
            "overhead_three_tokens": run.overhead,
        }
        if parallelism >= 4096:
            sketch = make_sketch(model, configured("small", machine | BOUND))
            cycles = predict(sketch, 2, 2).cycles[1]
            octets = cycles * BOUND["axi_width"] // 8 * BOUND["axi_ports"]
            found[f"lanes_{lanes}"]["weights_per_byte_of_bandwidth"] = sketch.macs(1) / octets
    return found


def predicted_bitnet():
    """Tokens/s, by the bits of the head; W/B."""
    found = {}
    for bits in HEADS:
        sketch = make_sketch(BITNET, bitnet_config(bits))
        run = predict(sketch, 1, 1, start=POSITION, frequency=BITNET_CLOCK)
        octets = run.cycles[-1] * BITNET_MACHINE["axi_width"] // 8
        found[f"head_of_{bits}_bits"] = {
            "cycles_token": run.cycles[-1],
            "tokens_per_second": BITNET_CLOCK / run.cycles[-1],
            "weights_per_byte_of_bandwidth": sketch.description.macs(0, True) / octets,
            "overhead": run.overhead,
        }
    return found


def bitnet_config(bits):
    """The machine whose head has so many bits."""
    head = {"head_width": bits, "attention_parallelism": HEADS[bits]}
    return configured("large", BITNET_MACHINE | head)


def bitnet_layer():
    """The ModelConfig of one layer and a head of fewer rows."""
    return replace(BITNET, n_layers=1, vocab_size=BITNET_ROWS, seq_len=128)


def measured_bitnet(bits=4):
    """One layer and a head of fewer rows in RTL, weights and cache behind AXI."""
    model = ternary(random_model(bitnet_layer(), seed=1))
    plan = make_plan(model, bitnet_config(bits), calibrate(model, [1, 2, 3, 4]))
    run, done = simulated(plan, "bitnet", 1)
    expected = predict(plan, 2, 1)
    return {
        "weights_per_cycle": plan.shape.multipliers,
        "head_bits": bits,
        "cycles": done["cycles"],
        "cycles_predicted": expected.cycles,
        "logits_equal": int(np.size(run.logits)),
        "overhead": done["overhead"],
    }


def planned(part):
    """The plan of one layer and the head."""
    model = ternary(random_model(model_config(part), seed=1))
    return make_plan(model, load_config("small", settings(part)), calibrate(model, [1, 2, 3, 4]))


def simulated(plan, part, count=2):
    """The run of a prompt of two tokens, ``count`` generated ones, and its summary."""
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        run = simulate(plan, simulation, Request((7, 11), count))
        done = summary(plan, run, compare(plan, run))
    if not (done["matches_reference"] and done["logits_match"]):
        sys.exit(f"{part}: the machine's output differs from the integer reference")
    return run, done


def measured(part):
    """One layer and the head in RTL: a token whose pass stops before the head, and one with it."""
    plan = planned(part)
    run, done = simulated(plan, part)
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
    names = (*PARTS, "bitnet")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(names))
    parser.add_argument("--predict", action="store_true", help="simulate nothing")
    parser.add_argument("--cells", action="store_true", help="count the block's cells")
    parser.add_argument("-o", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(names):
        parser.error(f"PART must be among {', '.join(names)}, not {min(unknown)}")
    file = arguments.o
    found = json.loads(file.read_text()) if file and file.exists() else {}

    def keep():
        if file:
            file.write_text(json.dumps(found, indent=2) + "\n")

    for part in arguments.parts or names:
        about = found.setdefault(part, {})
        about["predicted"] = predicted(part) if part in PARTS else predicted_bitnet()
        if part in SIMULATED and not arguments.predict and "simulated" not in about:
            about["simulated"] = measured(part) if part in PARTS else measured_bitnet()
        keep()
        for target in TARGETS if arguments.cells and part == "block" else ():
            cells = about.setdefault("cells", {})
            cells[target] = cells.get(target) or synthesise(planned(part).machine(), target)
            keep()
        print(part, json.dumps(about, indent=2), flush=True)


if __name__ == "__main__":
    main()
