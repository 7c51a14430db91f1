"""What a search found: its JSON, and its table."""

from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from celosia.generators.config import ConfigError
from celosia.printable import NAME, printable
from celosia.search.confirm import checked, confirmed
from celosia.search.figures import FIGURES, parse_constraint
from celosia.search.job import search_of
from celosia.search.result import config_text

__all__ = ["report_of", "show"]

SHOWN = 20  # machines of the Pareto set in the table


def report_of(job, found, choose, confirm):
    """What the command writes as JSON."""
    search = search_of(job)
    if not found.pareto:
        raise ConfigError(
            f"none of {found.trials} machines tried meets all constraints: "
            + "; ".join(found.obstacles)
        )
    known = {one.trial: one for one in found.pareto}
    if choose is not None and choose not in known:
        trials = ", ".join(map(str, known))
        raise ConfigError(f"--choose must be a trial of the Pareto set ({trials}), not {choose}")
    chosen = found.pareto[0] if choose is None else known[choose]
    checked(search, chosen)
    names = [name for name in FIGURES if name in chosen.figures]
    return {
        "model": search.model.name,
        "board": search.board.name,
        "clock_mhz": search.board.clock(job.clock) / 1e6,
        "position": search.position,
        "objectives": list(job.objectives),
        "constraints": list(job.constraints),
        "trials": found.trials,
        "refused": found.refused,
        "loss_tokens": search.loss and search.loss.tokens,
        "float_perplexity": search.loss and search.loss.floating,
        "errors": {name: FIGURES[name].error for name in names},
        "pareto": [asdict(one) for one in found.pareto],
        "chosen": asdict(chosen),
        "confirmed": confirmed(search, chosen, confirm) if confirm else None,
    }


def show(report, found):
    """Print the Pareto set, and what was confirmed."""
    title = f"{report['model']} on {report['board']} at {report['clock_mhz']:.2f} MHz"
    table = Table(title=escape(printable(title, NAME)))
    table.add_column("trial", justify="right")
    weighed = {parse_constraint(one).name for one in report["constraints"]}
    weighed |= {*report["objectives"], "tokens_per_second", "lut", "dsp", "bram"}
    names = [name for name in report["errors"] if name in weighed]
    for name in names:
        text = f"{FIGURES[name].text}\n{report['errors'][name]}"
        table.add_column(text.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for one in report["pareto"][:SHOWN]:
        values = [_number(one["figures"][name]) for name in names]
        table.add_row(str(one["trial"]), *values)
    more = len(report["pareto"]) - SHOWN
    table.caption = (
        f"below the names the errors known; {report['trials']} trials, "
        f"{report['refused']} without a machine, "
        f"{len(found.pareto) + len(found.others)} that meet all constraints"
        + (f"; {more} more in --json" if more > 0 else "")
    )
    Console().print(table)
    for one in report["pareto"][:SHOWN]:
        print(f"{one['trial']}: {config_text(one['config'])}")
    if confirmed := report["confirmed"]:
        print(f"trial {report['chosen']['trial']}, confirmed:")
        for name, one in confirmed.items():
            text = f"  {name}: {_number(one['measured'])}"
            if one["predicted"] is not None:
                text += f", predicted {_number(one['predicted'])}"
            print(text + ("" if one["error"] is None else f" ({one['error']:+.2%})"))


def _number(value):
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{1 if value >= 100 else 4}f}"
