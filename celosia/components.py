"""The command ``celosia components``: what each unit of the library costs."""

import ast
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from celosia.options import JsonOption
from celosia.printable import columns, shown

__all__ = ["components"]

SEEDS = 3
LONGEST = 100  # characters of a value of --set
COLUMNS = ("lut", "ff", "dsp", "bram", "latency", "throughput", "fmax_mhz")


def components(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One unit; by default all.")
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="T", help="ecp5, ice40, gowin or xilinx.")
    ] = "ecp5",
    route: Annotated[bool, typer.Option("--route", help="Place and route as well (ecp5).")] = False,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Placements of which --route takes the median.")
    ] = SEEDS,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter of the unit NAME."),
    ] = None,
    json_file: JsonOption = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the table as a page.")
    ] = None,
):
    """Synthesise units of the library and list what they cost.

    What is done is kept in the cache: an interrupted call goes on where it was.
    """
    from celosia.generators.components import prices
    from celosia.generators.components.standard import STANDARD
    from celosia.generators.config import ConfigError
    from celosia.output import named, new_file, new_json
    from celosia.sim.toolchain import ToolError
    from celosia.sim.tools import tool

    try:
        if settings and name is None:
            raise ValueError("--set needs the NAME of a unit")
        if seeds not in range(1, 101):
            raise ValueError(f"seeds must be from 1 to 100, not {seeds}")
        values = dict(_setting(text) for text in settings or [])
        chosen = range(1, seeds + 1) if route else ()
        names = STANDARD if name is None else [name]
        for needed in ("yosys", *(("nextpnr-ecp5",) if route and target == "ecp5" else ())):
            tool(needed)  # missed before anything is done
        rows = [prices.price(each, target, values, chosen, _say) for each in names]
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    if json_file is not None:
        with new_json(json_file) as write_json:
            write_json(rows)
    if markdown_file is not None:
        words = ["celosia components", name, f"--route --seeds {seeds}" if route else None]
        words += [f"--target {target}" if target != "ecp5" else None]
        words += [f"--set {text}" for text in settings or []]
        command = " ".join([*filter(None, words), f"--markdown {markdown_file.name}"])
        with new_file(markdown_file) as unfinished:
            tools = prices.versions("yosys", *(["nextpnr-ecp5"] if route else []))
            page = prices.markdown(rows, target, command, tools)
            with named(markdown_file, unfinished):
                unfinished.write_text(page, encoding="utf-8")
    table = Table(*columns("unit", "parameters"))
    for column in COLUMNS:
        table.add_column(column, justify="right", overflow="fold")
    for row in rows:
        parameters = " ".join(f"{key}={value}" for key, value in row["parameters"].items())
        cells = ["" if row[column] is None else str(row[column]) for column in COLUMNS]
        table.add_row(row["name"], parameters, *cells)
    Console().print(table)
    if failures := [row["name"] for row in rows if "error" in row]:
        raise ToolError(f"no price for {', '.join(failures)}; the messages are above")


def _say(text):
    typer.echo(text, err=True)


def _setting(text):
    """``name=value`` as a pair; a value that is no Python literal is a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set takes name=value, not {shown(text)}")
    if len(value) > LONGEST:
        raise ValueError(f"--set {name}: a value has at most {LONGEST} characters")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return name, value
