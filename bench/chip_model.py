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
#: Each machine's changes of the model, and its settings.
MACHINES = [
    ({}, "weight_parallelism=8 vector_lanes=2 max_seq_len=128"),
    ({"n_layers": 2}, "weight_parallelism=16 vector_lanes=4 max_seq_len=128"),
    ({}, "weight_parallelism=32 vector_lanes=2 weight_width=4 max_seq_len=128"),
    ({"family": "qwen3"}, "weight_parallelism=16 vector_lanes=2 max_seq_len=128"),
    ({"family": "gemma2"}, "weight_parallelism=32 vector_lanes=4 max_seq_len=128"),
    ({"n_layers": 3}, "weight_parallelism=64 vector_lanes=8 weight_width=4 max_seq_len=128"),
    ({}, "weight_parallelism=16 vector_lanes=2 token_parallelism=2 max_seq_len=128"),
    ({"family": "gpt2", "n_kv_heads": 8}, "weight_parallelism=32 vector_lanes=4 max_seq_len=128"),
    ({}, "weight_parallelism=64 vector_lanes=4 max_seq_len=256"),
    ({}, "weight_parallelism=32 vector_lanes=4 memory=sdram"),
    ({}, "weight_parallelism=32 vector_lanes=4 group_size=32 weight_width=4 max_seq_len=128"),
    ({"family": "qwen2", "head_dim": 16}, "weight_parallelism=64 vector_lanes=2 max_seq_len=128"),
    ({"dim": 96, "hidden_dim": 256}, "weight_parallelism=64 vector_lanes=8 memory=sdram"),
    ({}, "weight_parallelism=32 vector_lanes=2 token_parallelism=4 max_seq_len=128"),
    ({}, "weight_parallelism=128 vector_lanes=4 max_seq_len=256"),
    ({"family": "olmo2"}, "weight_parallelism=128 vector_lanes=8 weight_width=6 max_seq_len=128"),
]


def configured(number):
    """The ModelConfig and the Config of a machine."""
    changes, settings = MACHINES[number]
    return ModelConfig(**MODEL | changes), load_config("small", settings.split())


def measure(number, say=print):
    """What Yosys counts of a machine: ``{"lut", "ff", "dsp", "bram"}``."""
    model, config = configured(number)
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
    for number in range(len(MACHINES)):
        if str(number) not in known:
            known[str(number)] = measure(number, lambda text: print(text, flush=True))
            print(f"{number}: {known[str(number)]}", flush=True)
            write_known(arguments.o, known)


if __name__ == "__main__":
    main()
