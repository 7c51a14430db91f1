"""The options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ConfigOption",
    "HtmlOption",
    "JsonOption",
    "LayersOption",
    "ModelArgument",
    "OutputOption",
    "SchemeOption",
    "SetOption",
    "TokenizerOption",
]

MODEL_HELP = (
    "A llama2.c file, a Hugging Face directory, a GGUF file, a folder of quantize or tune, or a "
    "name: demo, demo-small, demo-tiny, demo-ternary, demo-matmulfree, stories-ternary, "
    "smollm2, gemma3-270m."
)
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)]
OutputOption = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to make.")
]
TokenizerOption = Annotated[
    str | None,
    typer.Option("--tokenizer", metavar="FILE", help="Where the checkpoint carries none."),
]
ConfigOption = Annotated[
    str, typer.Option("--config", metavar="C", help="auto, a name (celosia configs), a TOML file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter; may be repeated."),
]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page with pictures.")
]
SchemeOption = Annotated[
    str | None,
    typer.Option(
        "--scheme",
        metavar="NAME",
        help="Widths, w2a4kv4 to w8a8kv8; by default the configuration's.",
    ),
]
LayersOption = Annotated[
    int | None,
    typer.Option("--layers", metavar="K", help="Only the model's first K layers, and its head."),
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")
]
