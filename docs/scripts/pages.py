"""Pages of the site that are made from docstrings, measurements and ``--help``, as Markdown."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import click
import typer
from celosia.generators.components.standard import STANDARD, build
from small_units import SMALL
from typer.testing import CliRunner

from celosia.cli import app

__all__ = ["api_page", "command_page", "contract", "unit_page", "unit_pages"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = ("reference", "generators", "rtl", "protocol", "sim", "boards")
LISTS = ("Parameters", "Members", "Attributes", "Returns", "Yields", "Raises")


def contract(thing):
    """A docstring in numpydoc's form as Markdown: its sections' entries become lists."""
    text = re.sub(r":\w+:`~?(?:celosia\.)?([^`]*)`", r"`\1`", inspect.getdoc(thing) or "")
    text = text.replace("``", "`")
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    found = [parts[0]]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        found.append(f"**{title}**\n\n{_entries(body) if title in LISTS else body}")
    return "\n\n".join(found)


def _entries(body):
    """Each line without an indent begins an entry; what follows is its description."""
    lines = []
    for line in body.strip().splitlines():
        if line and not line.startswith(" "):
            name, colon, kind = line.partition(" : ")
            lines.append(f"- `{name}`{': ' if colon else ''}{kind}  ")
        else:
            lines.append(f"    {line.strip()}" if line else "")
    return "\n".join(lines)


def unit_pages(waves=()):
    """``{name: page}`` of all units of the standard set."""
    return {name: unit_page(name, waves) for name in STANDARD}


def unit_page(name, waves=()):
    """A unit's contract, its waveform (if it is among ``waves``), its price and its accuracy."""
    unit, parameters = build(name)
    kind = type(unit)
    place = Path(inspect.getfile(kind)).resolve().relative_to(ROOT)
    at = ", ".join(f"{key} {value}" for key, value in parameters.items())
    parts = [f"# {kind.__name__}", contract(kind), f"In `{place}`, as `{kind.__module__}`."]
    if name in waves:
        settings = ", ".join(f"{key} {value}" for key, value in SMALL.get(name, [{}])[0].items())
        of = (
            f"At {settings or 'the standard parameters'}"
            if name in SMALL
            else "Of the example below"
        )
        parts.append(f"## Waveform\n\n{of}.\n\n![{name}]({name}.svg)")
    parts += [f"## Price\n\nAt its standard parameters: {at}."]
    for page, chip in (("components", "ECP5"), ("components_ice40", "iCE40 UP5K")):
        rows = _rows(page, lambda cell: cell == name)
        parts.append(f"On an {chip} ([all](../{page}.md)):\n\n{rows}" if rows else "")
    words = {name, name.replace("static_quantizer", "static_quantize")}
    words |= {name.replace("dynamic_quantizer", "dynamic_quantize")}
    words |= {name.replace("dequantizer", "dequantize")}
    if rows := _rows("accuracy", lambda cell: re.split(r"[ ,]", cell)[0] in words):
        parts.append(f"## Accuracy\n\nErrors against float64 ([all](../accuracy.md)):\n\n{rows}")
    for path in sorted((ROOT / "examples" / "components").glob("*.py")):
        code = path.read_text(encoding="utf-8")
        if re.search(rf"\bimport .*\b{kind.__name__}\b", code):
            parts.append(f"## Example\n\n```python\n{code}```")
    return "\n\n".join(filter(None, parts)) + "\n"


def _rows(page, wanted):
    """The rows of a page's tables whose first cell is ``wanted``, below a header; else nothing."""
    lines = (DOCS / f"{page}.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("|")]
    rows = [line for line in table if wanted(line.split("|")[1].strip())]
    return "\n".join([table[0], table[1], *rows]) if rows else ""


def command_page():
    """``celosia --help``, and the help of every command, as they are printed."""
    group = typer.main.get_command(app)
    runner = CliRunner(env={"COLUMNS": "100", "TERM": "dumb"})
    found = ["# Command line\n\n[What the commands promise](commands.md)."]
    for name in ("", *group.list_commands(click.Context(group))):
        arguments = [*filter(None, [name]), "--help"]
        printed = runner.invoke(app, arguments, prog_name="celosia").stdout
        title = f"celosia {name}".strip()
        found.append(f"## {title}\n\n```text\n{printed.strip()}\n```")
    return "\n\n".join(found) + "\n"


def api_page(package):
    """What the modules of a package of ours offer: signatures and docstrings."""
    top = importlib.import_module(f"celosia.{package}")
    found = [f"# celosia.{package}\n\n{contract(top)}"]
    for info in sorted(pkgutil.walk_packages(top.__path__, f"{top.__name__}."), key=lambda i: i[1]):
        module = importlib.import_module(info.name)
        names = [name for name in getattr(module, "__all__", ()) if not info.ispkg]
        if names:
            found.append(f"## {info.name}\n\n{contract(module)}")
        for name in names:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                found.append(f"### {name}\n\n{_signature(name, thing)}{contract(thing)}")
    return "\n\n".join(found) + "\n"


def _signature(name, thing):
    try:
        return f"```python\n{name}{inspect.signature(thing)}\n```\n\n"
    except (TypeError, ValueError):
        return ""
