"""What whole machines take of an ECP5: ``python bench/chip_model.py [-o FILE]``.

Each machine of ``MACHINES`` is synthesised by Yosys, as for a ULX3S-85F, and what was counted is
written to FILE; what is there is not synthesised again. ``--check`` compares the estimates of
:mod:`celosia.boards.estimate` with the file.
"""

import tempfile
from pathlib import Path

from celosia.boards.build import BAUD, with_clock, write_design
from celosia.boards.catalog import find_board
from celosia.boards.estimate import estimate
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference.model import ModelConfig, random_model
from known_results import begin, write_known

__all__ = ["FILE", "MACHINES", "check", "configured", "measure"]

FILE = Path(__file__).with_suffix(".json")
BOARD = "ulx3s_85f"
MODEL = {
    "family": "llama", "dim": 64, "hidden_dim": 172, "n_layers": 5, "n_heads": 8, "n_kv_heads": 4,
    "head_dim": 8, "vocab_size": 512, "seq_len": 512, "tied": True,
}  # fmt: skip
#: Of each machine its changes of the model, and its settings; what units cost is fitted on FIT.
MACHINES = {
    "2 lanes": ({}, "weight_parallelism=8 vector_lanes=2"),
    "4 lanes": ({"n_layers": 2}, "weight_parallelism=16 vector_lanes=4"),
    "16 rows": ({}, "weight_parallelism=32 vector_lanes=2 weight_width=4"),
    "16 rows, 4 lanes": ({}, "weight_parallelism=64 vector_lanes=4 weight_width=4"),
    "qwen3": ({"family": "qwen3"}, "weight_parallelism=16 vector_lanes=2"),
    "tokens": ({"n_layers": 2}, "weight_parallelism=16 vector_lanes=2 token_parallelism=2"),
    "gpt2": (
        {"family": "gpt2", "n_kv_heads": 8, "n_layers": 2}, "weight_parallelism=16 vector_lanes=2",
    ),
    "sdram": ({}, "weight_parallelism=16 vector_lanes=2 memory=sdram max_seq_len=256"),
    "gemma2": ({"family": "gemma2", "n_layers": 3}, "weight_parallelism=16 vector_lanes=2"),
    "8 lanes": ({"n_layers": 2}, "weight_parallelism=64 vector_lanes=8 weight_width=4"),
    "groups": ({}, "weight_parallelism=16 vector_lanes=2 group_size=32 weight_width=4"),
    "qwen2": ({"family": "qwen2", "head_dim": 16}, "weight_parallelism=32 vector_lanes=4"),
    "value steps": ({}, "weight_parallelism=32 vector_lanes=2 value_steps=token weight_width=6"),
    "mixtral": (
        {"family": "mixtral", "hidden_dim": 32, "options": {"experts": 4, "chosen": 2}},
        "weight_parallelism=16 vector_lanes=2 weight_width=4",
    ),
    "4 tokens": ({"n_layers": 3}, "weight_parallelism=8 vector_lanes=2 token_parallelism=4"),
    "softmax lanes": ({}, "weight_parallelism=32 vector_lanes=2 softmax_lanes=4 weight_width=4"),
    "olmo2": ({"family": "olmo2"}, "weight_parallelism=32 vector_lanes=4 weight_width=6"),
    "wide": ({"dim": 96, "hidden_dim": 256}, "weight_parallelism=32 vector_lanes=4 memory=sdram"),
    "recurrent": ({"family": "hgrn_bit"}, "weight_parallelism=16 vector_lanes=2"),
    "8 lanes, olmo": ({"family": "olmo2"}, "weight_parallelism=128 vector_lanes=8 weight_width=6"),
}  # fmt: skip
FIT = ("2 lanes", "4 lanes", "16 rows", "16 rows, 4 lanes")


def configured(name):
    """The ModelConfig and the Config of a machine."""
    changes, settings = MACHINES[name]
    return ModelConfig(**MODEL | changes), load_config(
        "small", ["max_seq_len=128", *settings.split()]
    )


def measure(name, say=print):
    """What Yosys counts of a machine: ``{"lut", "ff", "dsp", "bram"}``."""
    model, config = configured(name)
    board = find_board(BOARD)
    plan = with_clock(make_plan(random_model(model, seed=1), config), board, board.default_clock)
    with tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        write_design(board, plan.machine(), board.default_clock, BAUD, Path(folder))
        return board.flow.count(Path(folder), say)


def check(known):
    """Print what was counted and what was estimated; of each resource the differences."""
    found = {name: [] for name in ("lut", "dsp", "bram")}
    for number, counted in known.items():
        chip = estimate(*configured(int(number)))
        pairs = {name: (counted[name], getattr(chip, name)) for name in found}
        text = ", ".join(f"{n} {a:,} (estimated {b:,})" for n, (a, b) in pairs.items())
        print(f"{number}: {MACHINES[int(number)][1]}: {text}")
        for name, (a, b) in pairs.items():
            found[name].append(b / a - 1)
    return found


def main():
    arguments, known = begin(__doc__, FILE)
    if arguments.check:
        check(known)
        return
    for name in MACHINES:
        if name not in known:
            known[name] = measure(name, lambda text: print(text, flush=True))
            print(f"{name}: {known[name]}", flush=True)
            write_known(arguments.o, known)


if __name__ == "__main__":
    main()
