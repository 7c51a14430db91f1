"""The command ``celosia search``: the best machines of a model for a board."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from celosia import interrupt
from celosia.options import (
    HtmlOption,
    JsonOption,
    LayersOption,
    ModelArgument,
    SetOption,
    TokenizerOption,
)
from celosia.output import check_apart, new_json, new_text

__all__ = ["search"]


def search(
    model: ModelArgument,
    board: Annotated[str, typer.Option("--board", metavar="B", help="See: celosia boards.")],
    tokenizer: TokenizerOption = None,
    layers: LayersOption = None,
    settings: SetOption = None,
    objective: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="What is to be best, as tokens_per_second,perplexity."),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="As 'lut<80%' or 'perplexity<1.05x'; may be repeated."),
    ] = None,
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A text in UTF-8, for the perplexity.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of the text; by default 2048.")
    ] = None,
    position: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Of the token whose cycles count: 100, or the last."),
    ] = None,
    clock: Annotated[
        float | None, typer.Option(metavar="MHZ", help="By default the board's.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="That the study has.")] = 500,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Workers; with --dask tasks at once.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="Of the search.")] = 0,
    study: Annotated[
        str | None,
        typer.Option(metavar="FILE|URL", help="Where trials are kept, for the next time."),
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a scheduler, whose workers work.")
    ] = None,
    choose: Annotated[
        int | None,
        typer.Option(min=0, metavar="TRIAL", help="To write and confirm; else the first."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the chosen one for --config (TOML).")
    ] = None,
    confirm: Annotated[
        Literal["cycles", "synthesis", "route"] | None,
        typer.Option(
            help="Measure the chosen one: simulate it; count it by Yosys, too; or build it."
        ),
    ] = None,
    html: HtmlOption = None,
    json_file: JsonOption = None,
):
    """Search the best machines of a model for a board, by predicted figures.

    Cycles and chip are predicted; with --text the loss of those that fit is measured. The same
    command goes on with what its --study has. The configuration that --write leaves is one for
    build and simulate; --confirm measures it.
    """
    from celosia.boards.catalog import find_board
    from celosia.search.confirm import check_tools
    from celosia.search.job import Job
    from celosia.search.page import page
    from celosia.search.report import report_of, show
    from celosia.search.result import Found, toml_text

    _check_options(text, max_tokens, tokenizer, choose, write or confirm, dask, study)
    outputs = [json_file, html, write]
    check_apart(outputs, [model, tokenizer, text, study])
    job = Job(
        *(model, tokenizer, text and str(text), layers, board, *_when(board, clock, position)),
        tuple(settings or ()),
        *_wishes(objective, constraint or [], text is not None, board),
        *(max_tokens or 2048, _place(study), trials, seed),
    )
    with contextlib.ExitStack() as stack:
        write_json = stack.enter_context(new_json(json_file))
        write_page, write_toml = (stack.enter_context(new_text(path)) for path in (html, write))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="celosia-"))
        stack.enter_context(_goes_on(job.study))
        if confirm:
            check_tools(find_board(board), confirm)
        job, found = _run(job, jobs, dask, folder)
        report = report_of(job, found, choose, confirm)
        show(report, found)
        write_json(report)
        write_page(page(report, found))
        write_toml(toml_text(Found(**report["chosen"]), f"{report['model']}, {report['board']}"))


def _check_options(text, max_tokens, tokenizer, choose, chosen, dask, study):
    """Raise ConfigError for options without effect."""
    from celosia.generators.config import ConfigError

    for name, value in (("--max-tokens", max_tokens), ("--tokenizer", tokenizer)):
        if value is not None and text is None:
            raise ConfigError(f"{name} has no effect without --text")
    if choose is not None and not chosen:
        raise ConfigError("--choose has no effect without --write or --confirm")
    if dask is not None and study is None:
        raise ConfigError("--dask needs a --study that all workers reach")


def _when(name, clock, position):
    """The clock, in MHz, and the position, which the model may limit."""
    from celosia.boards.catalog import find_board
    from celosia.generators.config import ConfigError

    board = find_board(name)
    clock = board.default_clock if clock is None else clock
    try:
        board.clock(clock)
    except ValueError as error:
        raise ConfigError(f"--clock: {error}") from None
    return clock, position


def _wishes(objective, constraints, has_text, board):
    """The objectives, and the constraints' texts."""
    from celosia.boards.catalog import find_board
    from celosia.boards.estimate import machine_kind
    from celosia.generators.config import ConfigError
    from celosia.generators.machine_kinds import MACHINES
    from celosia.search.figures import FIGURES, parse_constraint, parse_objectives

    parsed = [parse_constraint(text) for text in constraints]
    if objective is not None:
        names = parse_objectives(objective)
    else:
        kind = MACHINES[machine_kind(find_board(board))]
        names = "tokens_per_second", "positions", *["window"] * ("window" in kind.open)
        names += ("perplexity",) * has_text
    weighed = {FIGURES[name].rung for name in (*names, *(one.name for one in parsed))}
    if "loss" in weighed and not has_text:
        raise ConfigError("perplexity needs a --text")
    if has_text and "loss" not in weighed:
        raise ConfigError("--text has no effect: neither --objective nor --constraint weighs it")
    return names, tuple(one.text for one in parsed)


def _place(study):
    """Where a study is kept; a file's path is whole, since workers may be anywhere."""
    if study is None or "://" in study:
        return study or ""
    path = Path(study).absolute()
    if path.is_dir():
        raise IsADirectoryError(21, os.strerror(21), study)
    if not path.parent.is_dir():
        raise FileNotFoundError(2, os.strerror(2), str(path.parent))
    return str(path)


@contextlib.contextmanager
def _goes_on(study):
    """Where Ctrl-C ends it, say how to go on."""
    try:
        yield
    except interrupt.Stopped:
        place = f"the same command goes on with {study}" if study else "--study keeps one"
        print(f"celosia: stopped: {place}", file=sys.stderr)
        raise


def _run(job, jobs, dask, folder):
    """Search; the job, and what the study holds then."""
    from celosia.search.result import result_of
    from celosia.search.study import finished, open_study, work
    from celosia.search.team import by_dask, by_processes

    bar = Progress(
        *(TextColumn("search"), BarColumn(), MofNCompleteColumn(), TextColumn("trials")),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=job.trials)

        def progress(done):
            bar.update(task, completed=min(done, job.trials))

        study, notes = open_study(job), []
        if job.study and finished(study) >= job.trials:
            notes.append(f"{job.study} has its {job.trials} trials already")
        if dask is not None:
            by_dask(job, study, dask, jobs, progress)
        elif (jobs or 1) > 1:
            job, study, notes = by_processes(job, study, jobs, folder, progress)
        else:
            work(job, study=study, progress=progress)
    for note in notes:
        print(f"celosia: {note}", file=sys.stderr)
    return job, result_of(study, job.objectives)
