"""What README shows of commands and of the demo machine: made here, and compared by a test.

``python docs/scripts/generated.py`` writes README.md's tables, those of docs/breakdown.md, and
docs/machine.svg anew.
"""

import json
import re
from pathlib import Path

import msgspec
from celosia.generators.config import load_config
from celosia.generators.files.report import machine_report
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import load
from typer.testing import CliRunner

from celosia.cli import app
from celosia.page.picture import machine_picture
from celosia.page.schemas import Machine

__all__ = ["broken_down", "filled", "machine_svg", "table"]

ROOT = Path(__file__).parents[2]
MARKED = re.compile(r"(<!-- celosia (\w+): ([^\n]*) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
BROKEN_DOWN = re.compile(r"(<!-- breakdown ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
RESOURCES = ("lut", "ff", "dsp", "bram")
SHOWN = 100  # LUTs of a unit in a table of its own line


def table(command, columns):
    """The table that ``celosia command`` prints, as Markdown, with ``columns`` (names) of it."""
    printed = CliRunner(env={"COLUMNS": "400"}).invoke(app, [command]).stdout
    header, *lines = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in printed.splitlines()
        if line[0] in "│┃"
    ]
    rows = []
    for line in lines:
        if line[0]:
            rows.append(line)
        else:  # further lines of the same row's cells
            rows[-1] = [", ".join(filter(None, pair)) for pair in zip(rows[-1], line, strict=True)]
    chosen = [header.index(name) for name in columns]
    rows = [columns, ["---"] * len(columns), *([row[n] for n in chosen] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(text):
    """``text`` with the tables that its marks ask for: ``<!-- celosia COMMAND: COLUMNS -->``."""
    return MARKED.sub(
        lambda found: f"{found[1]}\n{table(found[2], found[3].split(', '))}\n{found[5]}", text
    )


def broken_down(text):
    """``text`` with the tables of bench/breakdown.json that its marks ask for."""
    known = json.loads((ROOT / "bench" / "breakdown.json").read_text())
    return BROKEN_DOWN.sub(lambda found: f"{found[1]}\n{_units(known[found[2]])}\n{found[4]}", text)


def _units(found):
    """A machine's units: LUT4 of each apart, then what it takes together; small ones summed."""
    together, apart = found["together"], found.get("apart", {"units": {}, "whole": None})
    units = together["units"]
    shown = [name for name, cells in units.items() if cells["lut"] >= SHOWN]
    others = [cells for name, cells in units.items() if name not in shown]
    rest = {r: sum(cells[r] for cells in others) for r in RESOURCES}
    rows = [(name, apart["units"].get(name), units[name]) for name in shown]
    rows += [(f"{len(others)} others", None, rest), ("**all**", apart["whole"], together["whole"])]
    lines = ["| unit | LUT4 apart | LUT4 | FF | DSP | BRAM |", "|---|---|---|---|---|---|"]
    for name, alone, cells in rows:
        numbers = " | ".join(f"{cells[r]:,}" for r in RESOURCES)
        number = f"{alone['lut']:,}" if alone else "-"
        lines.append(f"| {name} | {number} | {numbers} |")
    return "".join(f"{line}\n" for line in lines)


def machine_svg():
    """The picture of the demo model's machine, in the configuration ``small``."""
    report = machine_report(make_plan(load("demo"), load_config("small")))
    return machine_picture(msgspec.convert(report, Machine))


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
    page = ROOT / "docs" / "breakdown.md"
    page.write_text(broken_down(page.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "docs" / "machine.svg").write_text(machine_svg(), encoding="utf-8")
