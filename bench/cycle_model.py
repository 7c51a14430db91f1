"""The cycle model against simulated machines: ``python bench/cycle_model.py [-o FILE]``.

Machines drawn at random (:mod:`drawn_machines`), the named configurations, and ways to keep keys
and values are simulated for a few tokens at positions from 0 to 500. What each pass took, and where
it went by the hardware's counters, is written to FILE, machine by machine: what is there is not
measured again. ``--check`` simulates nothing: it compares the model's
predictions with the file, with the families' machines of ``families.json`` and with the large ones
of :mod:`recorded`.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("CELOSIA_OPTIMISE", "-O0")

import numpy as np
from celosia.generators.config import ConfigError, load_config
from celosia.generators.estimate.cycles import ERROR, known_error, predict
from celosia.generators.estimate.sketch import make_sketch
from celosia.generators.plan import make_plan
from celosia.reference.model import ModelConfig, random_model
from celosia.rtl.machine.run_counters import CAUSES
from celosia.sim.driver import Driver
from celosia.sim.loader import load_memory
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from celosia.sim.simulate import fill_memories, machine_verilog
from drawn_machines import configured, drawn, varied
from families import CHANGES, SIZES, TOKENS
from known_results import begin, write_known
from recorded import STORIES, recorded

__all__ = ["STORIES", "check", "checked", "configured", "machines", "measure"]

FILE = Path(__file__).with_suffix(".json")
FAMILIES = Path(__file__).with_name("families.json")
#: Seeds of the plain machines, of those beside them with more; those before them took longest.
DRAWN = (0, 2, 3, 5, 17, 20, 34, 40)
VARIED = range(48)
NAMED = ("tiny", "small", "large")
#: What is not drawn: how keys and values are kept, and how many of them share a beat.
CACHES = {
    "value_steps": {"value_steps": "token"},
    "key_mean": {"key_mean": "removed"},
    "narrow": {"key_width": 4, "value_width": 6, "value_steps": "token", "key_mean": "removed"},
    "softmax_lanes": {"weight_parallelism": 256, "softmax_lanes": 8},
    "transforms": {"rotate_keys": 16, "rotate_down": 32},
    "transforms_of_two": {"rotate_keys": 2, "rotate_down": 8, "token_parallelism": 2},
    "narrow_axi": {"key_width": 4, "value_width": 4, "value_steps": "token", "kv_memory": "axi"},
}


def machines():
    """All machines by their names."""
    found = {}
    for name in NAMED:
        model = {"family": "llama", "dim": 64, "hidden_dim": 176, "n_layers": 2, "n_heads": 8}
        model |= {"n_kv_heads": 4, "head_dim": 8, "vocab_size": 512, "seq_len": 512}
        rest = [(0, 1, 4), (0, 9, 2), (100, 8, 2), (490, 8, 2)]
        found[name] = {"config": name, "model": model, "settings": {}, "runs": rest}
    for name, settings in CACHES.items():
        few = {"dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}
        model = {"family": "llama", **few, "head_dim": 16, "vocab_size": 96, "seq_len": 512}
        settings = {"weight_parallelism": 16, "vector_lanes": 4, **settings}
        rest = [(0, 1, 3), (0, 9, 2), (100, 8, 2), (490, 8, 2)]
        found[name] = {"model": model, "settings": settings, "runs": rest}
    found |= {f"random{seed}": drawn(seed) for seed in DRAWN}
    found |= {f"varied{seed}": varied(seed) for seed in VARIED}
    return dict(sorted(found.items(), key=lambda item: effort(item[1])))


def effort(machine):
    """What a machine's simulation takes: to load an SDRAM, else to build the fabric."""
    _, config = configured(machine)
    return config.memory == "sdram", config.weight_parallelism * config.token_parallelism


def measure(machine):
    """What a machine did in its runs: of each its passes and its counters."""
    model, config = configured(machine)
    whole, found = random_model(model, seed=1), []
    if config.ternary:  # all but gains
        for tensors in (whole.tensors, *whole.layers):
            tensors |= {n: np.sign(t) for n, t in tensors.items() if t.ndim == 2}
    plan = make_plan(whole, config)
    with NativeSimulation(machine_verilog(plan), ("passes",)) as simulation:
        fill_memories(plan, simulation)
        driver = Driver(NativeTransport(simulation), plan.counters, patience=50_000_000)
        if plan.config.memory == "sdram":
            load_memory(driver, plan.images()[0])
        for start, length, count in machine["runs"]:
            if start and config.kv_page_size:  # the pages in front are taken before
                list(driver.run([0], 1, start=start - 1))
            if start and plan.program.recurs:  # as if so many tokens had been
                driver.restore(replace(driver.save(), position=start))
            simulation.forget()
            prompt = [(7 * n + 1) % model.vocab_size for n in range(length)]
            generation = driver.run(prompt, count, start=start)
            list(generation)
            counters = {name: generation.done.counters[name] for name in ("cycles", *CAUSES)}
            found.append({"passes": _passes(*simulation.taps("passes")), "counters": counters})
    return found


def _passes(ends, payload):
    """Of each pass its first position, its tokens, its cycles."""
    found, last = [], None
    for end, octets in zip(ends.tolist(), payload, strict=True):
        bits = int.from_bytes(octets.tobytes(), "little")
        cycles = (bits >> 28) + 1 if last is None else end - last
        found.append((bits & 0xFFFFF, (bits >> 20 & 0xFF) + 1, cycles))
        last = end
    return found


def checked(known):
    """Of each machine its name, what its runs took and what was predicted, and the known error.

    All their cycles are summed.
    """
    for name, machine in known.items():
        model, config = configured(machine)
        sketch, measured, predicted = make_sketch(model, config), 0, 0
        for (start, length, count), run in zip(machine["runs"], machine["measured"], strict=True):
            measured += sum(cycles for _, _, cycles in run["passes"])
            predicted += sum(predict(sketch, length, count, start=start).cycles)
        yield name, measured, predicted, known_error(config)
    for family, run in json.loads(FAMILIES.read_text()).items():
        model = ModelConfig(**SIZES | CHANGES.get(family, {}), family=family)
        prediction = predict(make_sketch(model, load_config("small")), 1, TOKENS)
        yield family, run["cycles"], sum(prediction.cycles), ERROR
    for name, model, config, length, tokens, options, cycles in recorded():
        prediction = predict(make_sketch(model, config), length, tokens, **options)
        yield name, cycles, sum(prediction.cycles), ERROR


def check(known):
    """Print the errors of all predictions, and the largest ones; whether all are as known."""
    largest = {}
    for name, measured, predicted, most in checked(known):
        error = predicted / measured - 1
        largest[most] = max(largest.get(most, 0.0), abs(error))
        print(f"{name:24} {measured:12,} cycles, predicted {predicted:12,}: {error:+.3%}")
    for most, error in sorted(largest.items()):
        print(f"the largest error is {error:.3%} where {most:.0%} are stated")
    return all(error <= most for most, error in largest.items())


def main():
    arguments, known = begin(__doc__, FILE)
    if arguments.check:
        sys.exit(not check(known))
    for name, machine in machines().items():
        if name in known:
            continue
        try:
            known[name] = machine | {"measured": measure(machine)}
        except (ConfigError, ValueError) as error:
            print(f"{name}: {error}", flush=True)
            continue
        print(f"{name}: {known[name]['measured'][-1]['counters']['cycles']:,} cycles", flush=True)
        write_known(arguments.o, known)


if __name__ == "__main__":
    main()
