"""What README shows of commands and of the demo machine: made here, and compared by a test.

``python docs/scripts/generated.py`` writes README.md's tables and docs/machine.svg anew.
"""

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

__all__ = ["filled", "machine_svg", "table"]

ROOT = Path(__file__).parents[2]
MARKED = re.compile(r"(<!-- celosia (\w+): ([^\n]*) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


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


def machine_svg():
    """The picture of the demo model's machine, in the configuration ``small``."""
    report = machine_report(make_plan(load("demo"), load_config("small")))
    return machine_picture(msgspec.convert(report, Machine))


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "docs" / "machine.svg").write_text(machine_svg(), encoding="utf-8")
