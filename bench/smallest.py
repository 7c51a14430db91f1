"""What the smallest machine takes of a board's chip: the cells that its synthesis counts.

    python bench/smallest.py --board tang_primer_20k --json bench/boards/tang_primer_20k.json

Nothing is placed. The model is one of random weights, so small that only the machine counts.
"""

import argparse
import json
from pathlib import Path

from celosia.boards.build import BAUD, write_design
from celosia.boards.catalog import find_board
from celosia.boards.estimate import estimate
from celosia.generators.config import Config
from celosia.generators.plan import make_plan
from celosia.reference.model import ModelConfig, random_model

MODEL = ModelConfig(
    dim=16, hidden_dim=24, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, vocab_size=37,
    seq_len=24, tied=True,
)  # fmt: skip
CONFIG = Config(weight_parallelism=8, vector_lanes=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="tang_primer_20k")
    parser.add_argument("--folder", type=Path, default=Path("smallest"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    board = find_board(options.board)
    options.folder.mkdir(parents=True, exist_ok=True)
    machine = make_plan(random_model(MODEL, seed=1), CONFIG).machine()
    write_design(board, machine, board.default_clock, BAUD, options.folder)
    used = board.flow.count(options.folder, print)
    said = estimate(MODEL, CONFIG, board.flow.lut_share)
    result = {
        "board": board.name,
        "config": {"weight_parallelism": 8, "vector_lanes": 2, "weight_width": 8},
        **{n: {"used": used[n], "available": board.resources[n]} for n in used},
        "estimate": {"lut": said.lut, "dsp": said.dsp, "bram": said.bram},
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text)


if __name__ == "__main__":
    main()
