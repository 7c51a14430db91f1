"""What whole machines take of a chip: ``python bench/chip_model.py [-o FILE]``.

Each machine of ``MACHINES`` is synthesised by Yosys, as for a ULX3S-85F, and what was counted is
written to FILE; what is there is not synthesised again. ``--check`` synthesises nothing: it
compares the estimates of :mod:`celosia.boards.estimate` with the file, and with what routed designs
of ``boards`` took.
"""

import json
import sys
import tempfile
from pathlib import Path

from celosia.boards.build import BAUD, with_clock, write_design
from celosia.boards.catalog import find_board
from celosia.boards.ecp5 import Ecp5Flow
from celosia.boards.estimate import estimate
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import load
from celosia.reference.model import ModelConfig, random_model
from known_results import begin, write_known
from recorded import STORIES

__all__ = ["ERROR", "FILE", "FIT", "MACHINES", "check", "checked", "configured", "measure"]

FILE = Path(__file__).with_suffix(".json")
FOLDER = Path(__file__).with_name("boards")
BOARD = "ulx3s_85f"
ERROR = 0.1  # of LUTs
PACKED = "vector_lanes=4 weight_parallelism=64 weight_width=4 packing=18x18"
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
    "packed": ({"n_layers": 2}, PACKED),
    "packed, few keys": ({"n_layers": 2}, f"{PACKED} attention_parallelism=16"),
    "packed, LUTs": ({"n_layers": 2}, f"{PACKED} lut_multipliers=8"),
    "packed, 8 lanes": (
        {"n_layers": 1}, "weight_parallelism=128 vector_lanes=8 weight_width=4 packing=18x18",
    ),
    "softmax lanes, wide": (
        {}, "weight_parallelism=128 vector_lanes=4 softmax_lanes=8 max_seq_len=256",
    ),
    "packed, wide": (
        {},
        "weight_parallelism=256 vector_lanes=4 weight_width=4 head_width=8 packing=18x18 "
        "softmax_lanes=8 max_seq_len=256",
    ),
    "packed, wide, 8 lanes": (
        {},
        "weight_parallelism=256 vector_lanes=8 weight_width=4 head_width=8 packing=18x18 "
        "softmax_lanes=8 lut_multipliers=28 max_seq_len=256",
    ),
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


def routed():
    """Of each routed design its name, its board, its ModelConfig, its Config, its cells."""
    for path in sorted(FOLDER.glob("*.json")):
        run = json.loads(path.read_text())
        if "fmax_mhz" not in run:
            continue
        board, kept = find_board(run["board"]), dict(run["config"])
        boot = {"boot": "flash"} if "spram" in board.resources else {}
        settings = [f"{n}={x}" for n, x in (kept | boot).items() if n not in ("name", "machine")]
        config = load_config("compact" if kept.get("machine") == "compact" else "small", settings)
        model = STORIES if run["model"] == "stories260K" else load(run["model"]).config
        counted = {name: run[name]["used"] for name in ("lut", "ff", "dsp", "bram")}
        yield path.stem, board, model, config, counted


def checked(known):
    """Of each machine outside the fit its name, its board, what was counted, the estimate."""
    machines = [
        (name, find_board(BOARD), *configured(name), counted)
        for name, counted in known.items()
        if name not in FIT
    ]
    for name, board, model, config, counted in [*machines, *routed()]:
        yield name, board, counted, estimate(model, config, board.flow.lut_share)


def check(known):
    """Print all differences; the largest one of LUTs, and how many blocks an ECP5 has otherwise."""
    largest, blocks = 0.0, 0
    for name, board, counted, chip in checked(known):
        names = ("lut", *(["ff"] if chip.ff else []), "dsp", "bram")
        pairs = {n: (counted[n], getattr(chip, n)) for n in names}
        text = ", ".join(f"{n} {a:,} (estimated {b:,})" for n, (a, b) in pairs.items())
        error = chip.lut / counted["lut"] - 1
        largest = max(largest, abs(error))
        if isinstance(board.flow, Ecp5Flow):
            blocks += sum(abs(said - n) for n, said in (pairs["dsp"], pairs["bram"]))
        print(f"{name}: {text}; LUTs {error:+.1%}")
    print(f"the largest error of LUTs is {largest:.1%}, of an ECP5's blocks {blocks}")
    return largest, blocks


def main():
    arguments, known = begin(__doc__, FILE)
    if arguments.check:
        largest, blocks = check(known)
        sys.exit(largest > ERROR or blocks > 0)
    for name in MACHINES:
        if name not in known:
            known[name] = measure(name, lambda text: print(text, flush=True))
            print(f"{name}: {known[name]}", flush=True)
            write_known(arguments.o, known)


if __name__ == "__main__":
    main()
