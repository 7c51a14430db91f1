"""The command ``celosia components``: what each unit of the library costs."""

import ast
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["components"]

COLUMNS = ("lut", "ff", "dsp", "bram", "latency", "throughput", "fmax_mhz")


def components(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One unit; by default all.")
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="T", help="ecp5, ice40, gowin or xilinx.")
    ] = "ecp5",
    route: Annotated[
        bool, typer.Option("--route", help="Place and route as well (ecp5, three seeds).")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter of the unit NAME."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")
    ] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the table as a page.")
    ] = None,
):
    """Synthesise units of the library and list what they cost."""
    from celosia.generators import components as library
    from celosia.generators.config import ConfigError
    from celosia.output import new_file

    rows = []
    try:
        if settings and name is None:
            raise ValueError("--set needs the NAME of a unit")
        values = dict(_setting(text) for text in settings or [])
        for each in library.STANDARD if name is None else [name]:
            rows.append(library.price(each, target, values, route))
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    if json_file is not None:
        with new_file(json_file) as unfinished:
            unfinished.write_text(json.dumps(rows, indent=2) + "\n")
    if markdown_file is not None:
        words = ["celosia components", name, "--route" if route else None]
        words += [f"--target {target}" if target != "ecp5" else None]
        words += [f"--set {text}" for text in settings or []]
        command = " ".join([*filter(None, words), f"--markdown {markdown_file.name}"])
        with new_file(markdown_file) as unfinished:
            unfinished.write_text(library.markdown(rows, target, command))
    table = Table("unit", "parameters")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in rows:
        parameters = " ".join(f"{key}={value}" for key, value in row["parameters"].items())
        cells = ["" if row[column] is None else str(row[column]) for column in COLUMNS]
        table.add_row(row["name"], parameters, *cells)
    Console().print(table)


def _setting(text):
    """``name=value`` as a pair; a value that is no Python literal is a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set takes name=value, not {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value
