"""The command ``celosia codesign``: which model should be trained for a board."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from celosia.made_codes import bar
from celosia.options import HtmlOption, JsonOption
from celosia.output import check_apart, new_json, new_text

__all__ = ["codesign"]


def codesign(
    board: Annotated[str, typer.Option("--board", metavar="B", help="See: celosia boards.")],
    latency: Annotated[
        float | None, typer.Option(metavar="MS", help="The most milliseconds a token may take.")
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(min=1, metavar="BYTES", help="The most that weights and cache may take."),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A text in UTF-8 that the model is to learn."),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", metavar="FILE", help="For --text; else demo's.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Shapes to look at.")] = 200,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="Of the search.")] = 0,
    html: HtmlOption = None,
    json_file: JsonOption = None,
):
    """Say which model should be trained for a board: the front of predicted loss and latency.

    The loss is that of a law, fitted on models of many shapes that were trained alike; with --text
    one model is trained on it, which shifts the law. Needs PyTorch for that: the extra "train".
    """
    from celosia.boards.catalog import find_board
    from celosia.codesign.front import Front, Question
    from celosia.codesign.law import fitted, known_models
    from celosia.codesign.report import page, report_of, show
    from celosia.codesign.shapes import Grid
    from celosia.generators.config import ConfigError

    if latency is not None and not latency > 0:
        raise ConfigError(f"--latency must be more than 0, not {latency:g}")
    if tokenizer is not None and text is None:
        raise ConfigError("--tokenizer has no effect without --text")
    chosen, models = find_board(board), known_models()
    law, limits = fitted(models), {"latency": latency, "memory": memory}
    limits = {name: most for name, most in limits.items() if most is not None}
    check_apart([json_file, html], [tokenizer, text])
    with new_json(json_file) as write_json, new_text(html) as write_page:
        level, words = _level(text, tokenizer, law, models)
        front = Front(Question(chosen, law, level, limits), Grid(law, models, words), seed)
        with bar("searching") as progress:
            front.search(trials, lambda n: progress(n, trials))
        report = report_of(front, models, text and str(text))
        show(report)
        write_json(report)
        write_page(page(report, front))


def _level(text, tokenizer, law, models):
    """Nats above the law's losses, and the size of the vocabulary, if it is another one."""
    from celosia.codesign.level import level_of
    from celosia.reference.checkpoint import load, load_tokenizer

    if text is None:
        return 0.0, None
    words = load_tokenizer(tokenizer) if tokenizer else load("demo").tokenizer
    middle = sorted(models, key=lambda one: one.loss)[len(models) // 2].config
    config = replace(middle, vocab_size=words.vocab_size)
    with bar("training a model on the text") as progress:
        return level_of(text, words, law, config, progress)[0], words.vocab_size
