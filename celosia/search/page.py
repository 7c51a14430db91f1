"""The page of a search: its machines as dots, the Pareto set as a table."""

from celosia.page.chart import Dots, chart
from celosia.page.sections import Section, sections_page
from celosia.search.figures import FIGURES
from celosia.search.result import config_text

__all__ = ["page"]


def page(report, found):
    """A whole page of HTML, which loads nothing.

    Parameters
    ----------
    report : dict
        What the command writes as JSON.
    found : celosia.search.result.Result
    """
    names = list(report["errors"])
    x, y = _axes(report["objectives"], names)
    groups = (("others", found.others), ("Pareto set", found.pareto))
    dots = [
        Dots(label, [(one.figures[x], one.figures[y], f"trial {one.trial}") for one in group])
        for label, group in groups
        if group
    ]
    rows = [
        (
            one["trial"],
            *(f"{one['figures'][name]:,.6g}" for name in names),
            config_text(one["config"]),
        )
        for one in report["pareto"]
    ]
    errors = "; ".join(f"{FIGURES[n].text}: {error}" for n, error in report["errors"].items())
    lead = f"{report['trials']} trials, {report['refused']} without a machine"
    columns = ("trial", *(FIGURES[name].text for name in names), "configuration")
    text = f"Errors known: {errors}. The chosen one is trial {report['chosen']['trial']}."
    sections = [
        Section(
            "Machines that meet all constraints", chart(FIGURES[x].text, FIGURES[y].text, dots)
        ),
        Section("Pareto set", columns=columns, rows=rows, text=text),
    ]
    title = f"{report['model']} on {report['board']} at {report['clock_mhz']:.2f} MHz"
    return sections_page(title, lead, sections)


def _axes(objectives, names):
    """The first two objectives; beside a single one the LUTs, or the block RAMs."""
    y = objectives[0]
    x = next((n for n in (*objectives[1:], "lut", "bram") if n in names and n != y), y)
    return x, y
