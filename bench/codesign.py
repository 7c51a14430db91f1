"""What ``celosia codesign`` picks, trained: ``python bench/codesign.py [-o FILE]``.

For each of ``PAIRS`` the model of the lowest predicted loss that takes a token no longer than a
model that is there; it is trained by the course of ``loss_law.py`` and written to FILE with that
one beside it. ``--check`` trains nothing: it prints the table of FILE.
"""

import dataclasses
import math
from pathlib import Path

from celosia.boards.catalog import find_board
from known_results import begin, write_known
from loss_law import lesson

from celosia.codesign.front import Front, Question
from celosia.codesign.law import fitted, known_models
from celosia.codesign.report import report_of, shape_text
from celosia.codesign.shapes import Grid

FILE = Path(__file__).with_suffix(".json")
PAIRS = (("icebreaker", "demo-small"), ("ulx3s_85f", "stories260K"), ("ulx3s_85f", "demo"))
TRIALS = 100


def confirm(board, name):
    """The model called ``name`` on a board, and what is picked in its place."""
    models, board = known_models(), find_board(board)
    law, one = fitted(models), next(one for one in models if one.name == name)
    there = Question(board, law, 0.0, {}).point(one.config)
    front = Front(Question(board, law, 0.0, {"latency": there.latency}), Grid(law, models))
    front.search(TRIALS)
    best, row = front.pareto()[0], report_of(front, models)["front"][0]
    loss = lesson()[0](best.config)
    figures = {"predicted": there.loss, "error": there.error, "measured": one.loss}
    figures |= {"cycles": there.cycles, "model": dataclasses.asdict(one.config)}
    picked = {"predicted": row["loss"], "measured": round(loss, 5)}
    picked |= {n: row[n] for n in ("error", "cycles", "model", "machine", "parameters")}
    return {"board": board.name, "there": figures, "picked": picked, "models": len(models)}


def table(known):
    """Print a table in Markdown."""
    print("| board | model | cycles a token | nats, predicted | measured | perplexity |")
    print("|---|---|---|---|---|---|")
    for name, pair in known.items():
        for kind, row in (("there", pair["there"]), ("picked", pair["picked"])):
            text = f"{name.split()[1]}: {shape_text(row['model'])}"
            print(
                f"| {pair['board']} | {text if kind == 'there' else shape_text(row['model'])} "
                f"| {row['cycles']:,} | {row['predicted']:.3f} ±{row['error']:.3f} "
                f"| {row['measured']:.3f} | {math.exp(row['measured']):.2f} |"
            )


def main():
    arguments, known = begin(__doc__, FILE)
    for board, name in PAIRS if not arguments.check else ():
        key = f"{board} {name}"
        if key not in known:
            known[key] = confirm(board, name)
            write_known(arguments.o, known)
    table(known)


if __name__ == "__main__":
    main()
