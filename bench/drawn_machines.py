"""Machines drawn at random, that the cycle model is compared with: see :mod:`cycle_model`."""

import numpy as np
from celosia.generators.config import ConfigError, load_config
from celosia.generators.estimate.sketch import make_sketch
from celosia.reference.model import ModelConfig

__all__ = ["configured", "drawn", "varied"]

PLAIN = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "olmo2", "granite")
WHOLE = ("gpt2", "opt", "gpt_neox", "starcoder2")  # without shared heads, or not gated
EXPERTS = ("mixtral", "qwen3_moe", "olmoe")
WIDTHS = {2: (8, 12, 16), 4: (16, 32, 48), 8: (64, 64, 128), 16: (256,)}
MOST, MOST_VARIED = 256, 64  # multipliers, so that a simulation is soon built


def drawn(seed):
    """A machine: the fields of its model, its settings, its runs."""
    rng = np.random.default_rng(seed)
    family = _one(rng, *PLAIN, *PLAIN, *WHOLE, "mixtral")
    heads, lanes = _one(rng, 2, 4, 8), _one(rng, 2, 4, 8, 8, 16)
    model = {
        "family": family,
        "dim": 8 * _one(rng, *range(4, 15)),
        "hidden_dim": 8 * _one(rng, *range(6, 33)),
        "n_layers": _one(rng, 1, 2, 3),
        "n_heads": heads,
        "n_kv_heads": heads if family in WHOLE else _one(rng, 1, 2, heads),
        "head_dim": _one(rng, 8, 16, 16, 32),
        "vocab_size": 16 * _one(rng, *range(6, 33)),
        "seq_len": 512,
    }
    if family == "mixtral":
        model |= {"hidden_dim": 8 * _one(rng, 6, 8, 12), "options": {"experts": 8, "chosen": 2}}
    if family in ("gemma2", "gemma3") and rng.random() < 0.7:
        windows = [_one(rng, 24, 32, 100) if n % 2 == 0 else None for n in range(model["n_layers"])]
        model["options"] = {"windows": windows}
    settings = {"weight_parallelism": _one(rng, *WIDTHS[lanes]), "vector_lanes": lanes}
    if family != "mixtral":
        room = MOST // settings["weight_parallelism"]
        settings["token_parallelism"] = _one(rng, *(n for n in (1, 1, 1, 2, 4, 8) if n <= room))
    memory = _one(rng, "on_chip", "on_chip", "on_chip", "sdram", "axi")
    settings |= _memory(rng, memory)
    settings["weight_width"] = _one(rng, 8, 8, 4)
    if rng.random() < 0.25:
        settings["group_size"] = 32
    return {"model": model, "settings": settings, "runs": _runs(rng, memory)}


def _one(rng, *values):
    return values[rng.integers(len(values))]


def _memory(rng, memory):
    settings = {"memory": memory}
    if memory == "axi":
        axi = {"axi_width": _one(rng, 32, 64, 128, 256, 512), "axi_ports": _one(rng, 1, 2, 4)}
        settings |= axi
    if memory != "sdram" and rng.random() < 0.2:
        settings |= {"kv_memory": "axi", "kv_axi_width": _one(rng, 64, 128, 512)}
    return settings


def _runs(rng, memory):
    """Of each run its start, the tokens of its prompt, those generated."""
    few = 2 if memory == "on_chip" else 1
    starts = [0, int(rng.integers(40, 200)), int(rng.integers(200, 400)), 490]
    return [(0, 1, 2), *((start, int(rng.integers(3, 14)), few) for start in starts)]


def varied(seed):
    """Likewise a small one, with some of what :func:`drawn` leaves out.

    Pages, Hadamard transforms, packing, ternary weights, recurrence, rows of keys, lanes of the
    softmax, windows, narrow keys and values; the first number from ``1000 seed`` on that gives one.
    """
    for number in range(1000 * seed, 1000 * (seed + 1)):
        machine = _varied(np.random.default_rng([1, number]))
        try:
            make_sketch(*configured(machine))
        except ConfigError:
            continue
        return machine
    raise ValueError(f"no machine for the seed {seed}")


def _varied(rng):
    family = _one(rng, *PLAIN, *WHOLE, *EXPERTS, "bitnet", "hgrn_bit", "hgrn_bit")
    model = _varied_model(rng, family)
    lanes = _one(rng, 2, 4, 4, 8)
    settings = {"weight_parallelism": _one(rng, *WIDTHS[lanes][:2]), "vector_lanes": lanes}
    room = MOST_VARIED // settings["weight_parallelism"]
    if family not in EXPERTS:
        settings["token_parallelism"] = _one(rng, *(n for n in (1, 1, 2, 4) if n <= room))
    memory = _one(rng, "on_chip", "on_chip", "on_chip", "sdram", "axi")
    settings |= _memory(rng, memory) | _weights(rng, family)
    if family != "hgrn_bit":
        settings |= _attention(rng, settings)
    if rng.random() < 0.4:
        settings["rotate_down"] = _one(rng, 2, 4, 8, 16, 32, 64)
    return {"model": model, "settings": settings, "runs": _runs(rng, memory)[::2]}


def _varied_model(rng, family):
    heads = _one(rng, 2, 4)
    shared = heads if family in (*WHOLE, "olmoe") else _one(rng, 1, 2)
    model = {
        "family": family,
        "dim": 8 * _one(rng, *range(4, 11)),
        "hidden_dim": 8 * _one(rng, *range(6, 17)),
        "n_layers": _one(rng, 1, 2),
        "n_heads": heads,
        "n_kv_heads": shared,
        "head_dim": _one(rng, 8, 16, 16, 32),
        "vocab_size": 16 * _one(rng, *range(4, 13)),
        "seq_len": 512,
    }
    if family == "hgrn_bit":
        model |= {"n_heads": 1, "n_kv_heads": 1, "head_dim": model["dim"]}
    if family in EXPERTS:
        model["options"] = {"experts": _one(rng, 4, 8), "chosen": _one(rng, 1, 2)}
    elif family in PLAIN and rng.random() < 0.3:
        windows = [_one(rng, 24, 50, None) for _ in range(model["n_layers"])]
        model["options"] = {"windows": windows}
    return model


def _weights(rng, family):
    if family in ("bitnet", "hgrn_bit") or rng.random() < 0.1:
        return {"weight_format": _one(rng, "ternary", "trits"), "weight_width": 2}
    settings = {"weight_width": _one(rng, 8, 6, 4, 4)}
    if rng.random() < 0.2:
        settings["group_size"] = 32
    if settings["weight_width"] == 4 and rng.random() < 0.6:
        settings["packing"] = "18x18"
        settings["head_width"] = _one(rng, 0, 8)
    return settings


def _attention(rng, settings):
    found = {}
    if rng.random() < 0.4:
        found["kv_page_size"] = _one(rng, 4, 8, 16, 32, 64)
    elif rng.random() < 0.3:
        found["softmax_lanes"] = settings["vector_lanes"] * _one(rng, 1, 2, 4)
    if rng.random() < 0.4:
        found["rotate_keys"] = _one(rng, 2, 4, 8, 16)
    if rng.random() < 0.3:
        found["attention_parallelism"] = settings["vector_lanes"] ** 2 * _one(rng, 1, 2)
    if rng.random() < 0.3:
        found["key_mean"] = "removed"
    if rng.random() < 0.3:
        found |= {"value_steps": "token", "value_width": _one(rng, 8, 6, 4)}
        found["key_width"] = found["value_width"]
    return found


def configured(machine):
    """The ModelConfig and the Config of a machine."""
    settings = [f"{name}={value}" for name, value in machine["settings"].items()]
    model = dict(machine["model"])
    if "options" in model:
        model["options"] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in model["options"].items()
        }
    return ModelConfig(**model), load_config(machine.get("config", "small"), settings)
