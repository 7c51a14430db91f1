"""What the commands that concern boards share: their options, and how they say what they do."""

import sys
import time
from typing import Annotated

import typer

__all__ = ["REPORT", "BaudOption", "ModelArgument", "SetOption", "TokenizerOption", "say"]

REPORT = "report.json"  # what a build leaves when all of it is done
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="As for celosia simulate.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter; may be repeated."),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option("--tokenizer", metavar="FILE", help="Where the checkpoint carries none."),
]
BaudOption = Annotated[
    int, typer.Option("--baud", min=1, metavar="BITS", help="Of the serial line.")
]


def say(text):
    """Say on the error output what is being done, and when."""
    print(f"celosia: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
