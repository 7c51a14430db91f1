"""What ``celosia codesign`` says: its JSON, its table, its page."""

import math
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from celosia.boards.estimate import MACHINES
from celosia.generators.config import ConfigError
from celosia.generators.estimate.cycles import ERROR
from celosia.page.chart import Dots, chart
from celosia.page.sections import Section, sections_page
from celosia.printable import NAME, printable
from celosia.reference.families import describe

__all__ = ["page", "report_of", "shape_text", "show"]

LAW_TEXT = "tiny Shakespeare"
UNITS = {"latency": "ms", "memory": "bytes"}
SHOWN = 20  # models in the table
TRUSTED = 0.8  # R2 of models outside of the fit, below which a law is called weak
COLUMNS = ("", "model", "parameters", "nats", "perplexity", "ms", "kB")


def report_of(front, models, text=None):
    """What the command writes as JSON.

    Parameters
    ----------
    front : celosia.codesign.front.Front
    models : list of celosia.codesign.law.Trained
        That the law was fitted on.
    text : str, optional
        The file that the losses are of.

    Raises
    ------
    ConfigError
        If no shape meets the constraints.
    """
    question = front.question
    found, law = front.pareto(), question.law
    if not found:
        raise ConfigError(_obstacle(front))
    return {
        "board": question.board.name,
        "text": text or LAW_TEXT,
        "level": question.level,
        "tokens": models[0].tokens,
        "limits": question.limits,
        "looked_at": len(front.found),
        "without_machine": sum(one is None for one in front.found.values()),
        "shapes": len(front.grid.configs),
        "law": {
            "models": len(models),
            "coefficients": law.coefficients.tolist(),
            **{n: getattr(law, n) for n in ("r2", "held_r2", "held_error", "spread")},
        },
        "errors": {"loss": "as stated at each", "latency": f"{ERROR:.0%}", "memory": "exact"},
        "front": [_row(one) for one in found],
    }


def _row(one):
    d, machine = describe(one.config), one.machine
    names = ("loss", "error", "cycles", "latency", "clock", "memory")
    return {
        **{name: getattr(one, name) for name in names},
        "perplexity": math.exp(one.loss),
        "parameters": d.parameters,
        "model": {name: value for name, value in asdict(one.config).items() if value},
        "machine": MACHINES[machine.machine].text(machine),
        "settings": MACHINES[machine.machine].settings(machine),
    }


def _obstacle(front):
    board, count = front.question.board.name, len(front.found)
    if not any(front.found.values()):
        return f"{board} has no machine for any of {count} shapes that the law covers"
    parts, alone = front.obstacles()
    said = []
    for name, value, excess in parts:
        limit = front.question.limits[name]
        cause = "cannot be met" if alone else "is not met with the other"
        said.append(
            f"--{name} {limit:g} {cause}: the nearest has {value:,.6g} {UNITS[name]}, "
            f"{max(excess, 0):.1%} beyond"
        )
    return f"none of {count} shapes on {board} meets the constraints: {'; '.join(said)}"


def _cells(number, row):
    return (
        *(str(number), shape_text(row["model"]), f"{row['parameters']:,}"),
        *(f"{row['loss']:.3f} ±{row['error']:.3f}", f"{row['perplexity']:.2f}"),
        *(f"{row['latency']:.4g}", f"{row['memory'] / 1e3:,.0f}"),
    )


def shape_text(model):
    """A shape in a few words, of a ModelConfig as JSON has it."""
    options = model.get("options", {})
    experts = ", {chosen} of {experts} experts".format(**options) if "experts" in options else ""
    width = model["n_kv_heads"] * model["head_dim"]
    return f"{model['n_layers']} x {model['dim']}, KV {width}, FFN {model['hidden_dim']}{experts}"


def _title(report):
    return f"{report['board']}, {report['text']}"


def _notes(report):
    law = report["law"]
    weak = f"the law is weak: by {law['models']} models; python bench/loss_law.py trains more"
    return [
        *([weak] if law["held_r2"] < TRUSTED else ()),
        f"{report['looked_at']} of {report['shapes']} shapes looked at, "
        f"{report['without_machine']} without a machine",
        f"nats per token after {report['tokens']:,} tokens, before weights are rounded",
        f"R2 of the law {law['r2']:.3f}, of models outside of the fit {law['held_r2']:.3f}, "
        f"whose largest error is {law['held_error']:.3f} nats",
        f"ms are a token's, known to {report['errors']['latency']}",
    ]


def show(report):
    """Print the front, and what its figures are worth."""
    table = Table(title=escape(printable(_title(report), NAME)))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "model" else "right")
    for number, row in enumerate(report["front"][:SHOWN], 1):
        table.add_row(*_cells(number, row))
    Console().print(table)
    for number, row in enumerate(report["front"][:SHOWN], 1):
        print(f"{number}: {row['machine']}")
    for note in _notes(report):
        print(note)


def page(report, front):
    """A whole page of HTML, which loads nothing."""
    groups = (("others", front.others()), ("front", front.pareto()))
    dots = [
        Dots(name, [(one.latency, one.loss, shape_text(asdict(one.config))) for one in points])
        for name, points in groups
        if points
    ]
    rows = [_cells(number, row) for number, row in enumerate(report["front"], 1)]
    sections = [
        Section("Shapes that meet all constraints", chart("ms per token", "nats", dots)),
        Section("Front", columns=COLUMNS, rows=rows, text="; ".join(_notes(report))),
    ]
    lead = f"{report['looked_at']} of {report['shapes']} shapes"
    return sections_page(_title(report), lead, sections)
