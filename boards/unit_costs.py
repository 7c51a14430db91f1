"""LUTs and flip-flops of a full machine: the sum over its units, as an ECP5 counts.

What a unit costs is a sum of ``TERMS``, whose factors ``python bench/unit_costs.py --fit`` found of
units that were mapped alone, and of whole machines.
"""

import functools
import json
from pathlib import Path

import numpy as np
from celosia.boards.block_ram import block_rams
from celosia.boards.full_units import tape

__all__ = ["COSTS", "OPTIONAL", "TERMS", "beyond", "terms", "unit_costs"]

COSTS = Path(__file__).with_suffix(".json")
#: A number of its own; for each lane; lane and token; row and token; multiplier of the fabric.
TERMS = ("fixed", "lane", "lane_token", "row_token", "product")
#: LUTs and flip-flops without a block: of a product of 8 bits, of two in one.
LUT_MULTIPLIER, PACKED_MULTIPLIER = (95, 0), (99, 38)
#: A lane's share of units that may have fewer than the machine, by those of 8 lanes alone.
NARROWER = {"lut": {"sampler": 700, "gate": 560}, "ff": {"sampler": 300, "gate": 180}}
#: Of machines with keys and values.
ATTENTION = ("sums", "value_words", "key_cache", "value_cache", "queries", "scores")
ROUTED = ("residual", "norm", "stream_norm", "rope", "head_quantize", "softmax", "gate")
OPTIONAL = ("bias", "stream_norm")
#: LUTs of what nobody has mapped in its place: (fixed, for each lane).
GUESSED = {
    "sdram": (2200, 0),
    "router": (2000, 260),
    "weigh": (200, 250),
    "recurrent": (1500, 900),
    "hadamard": (300, 350),
    "key_mean": (50, 60),
    "soft_cap": (100, 350),
    "group_scales": (400, 100),
}


def terms(shape):
    """What each of ``TERMS`` counts in a MachineShape: int[5]."""
    lanes, tokens = shape.lanes, shape.tokens
    return np.array([1, lanes, lanes * tokens, shape.rows * tokens, shape.multipliers])


def unit_costs(sketch, kinds):
    """LUTs and flip-flops by the unit: ``{"lut": {name: number}, "ff": {name: number}}``.

    Parameters
    ----------
    sketch : Sketch
    kinds : list of str
        Of the units on its routes.
    """
    s, config, present = sketch.shape, sketch.config, list(kinds)
    left_out = {*ROUTED, *OPTIONAL, *(() if sketch.program.attends else ATTENTION)}
    for name, there in (
        ("bias", sketch.words["biases"]),
        ("sdram", config.memory == "sdram"),
        ("group_scales", s.groups),
        ("softmax", s.value_steps),  # a second table of powers
    ):
        present += [name] if there else []
    numbers, found = terms(s), {}
    for resource, costs in _costs().items():
        names = [name for name in costs if name not in left_out] + present
        found[resource] = {}
        for name in names:
            cost = costs.get(name, (*GUESSED.get(name, (0, 0)), 0, 0, 0))
            of_all = found[resource].get(name, 0)
            found[resource][name] = of_all + round(float(numbers @ np.array(cost)))
    for resource, costs in beyond(sketch).items():
        for name, number in costs.items():
            found[resource][name] = found[resource].get(name, 0) + round(number)
    for resource, costs in NARROWER.items():
        for name, each in costs.items():
            at_once = getattr(s, f"{name}_lanes") or s.lanes
            if name in found[resource]:
                found[resource][name] -= each * (s.lanes - at_once)
    return found


def beyond(sketch):
    """What a machine takes that is no sum of ``TERMS``: as :func:`unit_costs` has it.

    Of the fabric, by ``bench/unit_costs.json``: a code of keys or values beside the weights takes
    26 LUTs, two products in a multiplier no more than two apart; by ``celosia components
    mac_fabric`` with 32 rows and 16 lanes a ternary product 27 less, a code beside these 39 more.
    Weights apart from codes take 9.7 LUTs less in the fetcher. The tape's memories, and paths for
    several blocks of positions, are those of two whole machines synthesised unit by unit.
    """
    s = sketch.shape
    products, cached = s.multipliers, s.cached_rows * s.lanes * s.tokens
    multiplier = LUT_MULTIPLIER if s.packing == "none" else PACKED_MULTIPLIER
    luts, ffs = (each * s.lut_multipliers for each in multiplier)
    luts += 39 * cached - 27 * products if s.ternary else 26 * cached
    several, paths = s.tokens * (s.parts > 1), s.lanes * (s.paths - 1)
    blocks = sum(map(block_rams, tape(sketch)))
    return {
        "lut": {
            "fabric": luts,
            "fetch": -9.7 * products * (s.cached_rows > 0),
            "tape": 8 * blocks + 1.6 * s.word_width,
            "paths": several * (600 + 80 * s.rows + 530 * s.parts) + 950 * paths,
        },
        "ff": {"fabric": ffs, "paths": several * 500 * s.parts + 300 * paths},
    }


@functools.cache
def _costs():
    return json.loads(COSTS.read_text())
