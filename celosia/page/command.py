"""The command ``celosia report``: a page of HTML for what other commands left."""

from pathlib import Path
from typing import Annotated

import typer

from celosia.output import check_apart, new_text

__all__ = ["report"]


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR|FILE...",
            help="Folders of generate or build; files of --json and --trace.",
            show_default=False,
        ),
    ],
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="The page to write.")],
):
    """Show results at a glance: one page of HTML that needs nothing else.

    Of folders that generate or build made, and of files that simulate --json, simulate --trace and
    evaluate --json wrote: the machine's picture, cycles by cause, a timeline, memory map,
    resources, losses, files and their hashes. All must be of one model.
    """
    from celosia.page.page import page
    from celosia.page.sources import read_sources

    inputs = [path / "report.json" if path.is_dir() else path for path in paths]
    check_apart([html], [*inputs, *(path / "manifest.json" for path in paths if path.is_dir())])
    text = page(read_sources(paths))
    with new_text(html) as write:
        write(text)
