"""What a full machine takes of a chip with block RAMs of 18 Kbit, and its configurations."""

import itertools

from celosia.boards.block_ram import BLOCK_BITS, block_rams
from celosia.boards.full_units import memories, multipliers
from celosia.boards.unit_costs import unit_costs
from celosia.generators.config import Config, ConfigError
from celosia.generators.estimate.flows import flows_of
from celosia.generators.estimate.outline import machine_description
from celosia.generators.estimate.sketch import make_sketch

__all__ = [
    "choices",
    "clock",
    "configs",
    "lengths",
    "needs",
    "settings",
    "smallest",
    "text",
]

SHORTEST = 128  # positions of a shortened cache


def needs(model, config):
    """``{"lut", "ff", "dsp", "bram", "sdram"}``, the last in bytes: as an ECP5 counts.

    Raises
    ------
    ConfigError
        If there is no such machine.
    """
    sketch = make_sketch(model, config)
    _, components = flows_of(sketch)
    routed = (unit for route in sketch.shape.routes for unit in route.units)
    units = {unit.name: (unit, components[unit.name]) for unit in routed if unit.name in components}
    costs = unit_costs(sketch, [unit.kind for unit, _ in units.values()])
    weights = sketch.words["weights"] * sketch.shape.word_width // 8
    return {
        "lut": sum(costs["lut"].values()),
        "ff": sum(costs["ff"].values()),
        "dsp": sum(multipliers(sketch.shape, units).values()),
        "bram": sum(map(block_rams, memories(sketch, units))),
        "sdram": weights if config.memory == "sdram" else 0,
    }


def configs(model, board, wish=None):
    """Configurations for ``model`` on ``board``: the widest weights first.

    Of those the most multipliers, then the most positions, then the most lanes; all of them on chip
    before any with the tape in the board's SDRAM. With ``wish`` nothing beyond it.
    """
    wish = wish or Config(weight_parallelism=1024, vector_lanes=32)
    positions = lengths(wish.max_seq_len or model.seq_len)
    widths = range(wish.weight_width, min(wish.weight_width, 4) - 1, -1)
    parallelisms = [1 << n for n in range(10, 2, -1) if 1 << n <= wish.weight_parallelism]
    lanes = [n for n in (32, 16, 8, 4, 2) if n <= wish.vector_lanes]
    largest = max(model.dim, model.hidden_dim, model.vocab_size)
    memories = [name for name in board.memories if name == "sdram" or wish.memory != "sdram"]
    names = ("memory", "weight_width", "weight_parallelism", "max_seq_len", "vector_lanes")
    for values in itertools.product(memories, widths, parallelisms, positions, lanes):
        try:
            config = Config(**dict(zip(names, values, strict=True)), name="fit")
        except ConfigError:
            continue
        if config.rows <= largest and not _hopeless(model, config, board):
            yield config


def clock(board, config, c):
    """In MHz: what placements on ``board`` reach, whatever the machine."""
    return board.default_clock


def choices(model, board):
    """The parameters that are open on ``board`` beside those of every machine: none."""
    return {}


def smallest(model, board):
    """The configuration that takes least."""
    length = lengths(model.seq_len)[-1]
    return Config(weight_parallelism=8, vector_lanes=2, weight_width=4, max_seq_len=length)


def settings(config):
    """How the command line says ``config``."""
    names = ["weight_parallelism", "vector_lanes", "weight_width", "max_seq_len"]
    names += ["memory"] if config.memory != "on_chip" else []
    names += [n for n in ("softmax_lanes", "sampler_lanes", "gate_lanes") if getattr(config, n)]
    return " ".join(f"--set {name}={getattr(config, name)}" for name in names)


def text(config):
    """A configuration in a few words."""
    tape = ", tape in SDRAM" * (config.memory == "sdram")
    return (
        f"{config.weight_parallelism} multipliers of {config.weight_width} bits, "
        f"{config.max_seq_len} positions{tape}"
    )


def lengths(length):
    """The positions that a cache may have, from ``length`` down."""
    return [length, *(length >> n for n in range(1, 8) if length >> n >= SHORTEST)]


def _hopeless(model, config, board):
    """Whether multipliers, or weights on chip, alone are more than ``board`` has."""
    multipliers = config.weight_parallelism * config.token_parallelism
    bits = machine_description(model).macs(0) * config.weight_width
    on_chip = config.memory == "on_chip" and bits > board.resources["bram"] * BLOCK_BITS
    return on_chip or multipliers > board.resources["dsp"]
