"""Odd shapes: each has a machine that can be made, or is refused in a line."""

import numpy as np
import pytest
from amaranth.hdl import Fragment
from celosia.generators.config import ConfigError, load_config
from celosia.generators.plan import make_plan
from celosia.reference.model import ModelConfig, random_model


def shape(seed):
    """A model's sizes and settings, drawn from all that is lawful."""
    rng = np.random.default_rng(seed)
    lanes, kv_heads = int(rng.choice([2, 4, 8, 16])), int(rng.integers(1, 4))
    sizes = {
        "dim": int(rng.integers(6, 301)),
        "hidden_dim": int(rng.integers(6, 301)),
        "n_layers": 1,
        "n_heads": kv_heads * int(rng.integers(1, 4)),
        "n_kv_heads": kv_heads,
        "head_dim": int(rng.choice([2, 6, 10, 34, 96, 128, 256])),
        "vocab_size": int(rng.integers(5, 300)),
        "seq_len": int(rng.choice([1, 2, 7, 32])),
        "tied": bool(rng.integers(2)),
        "norm_eps": float(rng.choice([0, 1e-5, 1e30])),
        "rope_theta": float(rng.choice([1e-30, 1e4, 1e300])),
    }
    settings = {
        "vector_lanes": lanes,
        "weight_parallelism": max(8, lanes * lanes),
        "token_parallelism": rng.choice([1, 2, 8]),
        "group_size": rng.choice([0, lanes]),
        "weight_width": rng.integers(2, 9),
        "kv_memory": rng.choice(["on_chip", "axi"]),
        "memory": rng.choice(["on_chip", "axi", "sdram"]),
    }
    return ModelConfig(**sizes), [f"{name}={value}" for name, value in settings.items()]


def elaborate(component):
    """Elaborate it, and all that is in it."""
    waiting = [component]
    while waiting:
        fragment = Fragment.get(waiting.pop(), None)
        waiting += [inner[0] for inner in fragment.subfragments]


SEEDS = [*range(2), *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 6))]


@pytest.mark.parametrize("seed", SEEDS)
def test_odd_shapes(seed):
    made, refusals = 0, []
    for n in range(4):
        config, settings = shape((seed, n))
        try:
            plan = make_plan(random_model(config), load_config("tiny", settings))
        except ConfigError as error:
            refusals.append(str(error))
            continue
        if not made:
            elaborate(plan.machine())
        made += 1
    assert made > 0
    assert all(len(line) <= 300 and "\n" not in line for line in refusals)
