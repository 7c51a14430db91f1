"""What the commands that concern boards share: an option, and how they say what they do."""

import sys
import time
from typing import Annotated

import typer

from celosia.printable import printable

__all__ = ["REPORT", "BaudOption", "say"]

REPORT = "report.json"  # what a build leaves when all of it is done
BaudOption = Annotated[
    int | None,
    typer.Option(
        "--baud", min=1, metavar="BITS", help="Of the serial line; by default 3 or 1 million."
    ),
]


def say(text):
    """Say on the error output what is being done, and when."""
    print(f"celosia: {time.strftime('%H:%M:%S')} {printable(text)}", file=sys.stderr, flush=True)
