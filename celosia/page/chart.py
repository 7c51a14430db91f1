"""Charts as SVG: dots and lines over two axes, linear or logarithmic; bars."""

import math
from dataclasses import dataclass

from celosia.page.templates import render

__all__ = ["Dots", "Line", "bars", "chart"]

COLOURS = ("#b9c6d3", "#d9843b", "#4878a8", "#6b9a58", "#8a63a8", "#b3486b")
WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 80, 20, 16, 52
TEXT, BAR = 150, 22  # of bars: room for what stands beside them, height of a row


@dataclass(frozen=True)
class Dots:
    """Points: ``(x, y, text)``, the text shown where the pointer is."""

    label: str
    points: list


@dataclass(frozen=True)
class Line:
    """A line through points ``(x, y)``."""

    label: str
    points: list


def bars(rows):
    """An SVG drawing of a bar for each of ``rows``: ``(name, value, text)``, values from 0 on."""
    most = max((value for _, value, _ in rows), default=0) or 1
    shown = [(name, text, (WIDTH - 2 * TEXT) * value / most) for name, value, text in rows]
    return render("bars.svg", rows=shown, width=WIDTH, height=BAR * len(rows), left=TEXT, row=BAR)


class _Axis:
    """From values to places between ``begin`` and ``end``."""

    def __init__(self, values, begin, end, log):
        low, high = min(values), max(values)
        if low == high:
            low, high = (low / 2, high * 2) if log else (low - 1, high + 1)
        self.log = log
        step = 1 if log else _step(high - low)
        self.low = math.floor(math.log10(low)) if log else math.floor(low / step) * step
        self.high = math.ceil(math.log10(high)) if log else math.ceil(high / step) * step
        self.begin, self.end = begin, end
        count = round((self.high - self.low) / step)
        marks = [self.low + n * step for n in range(count + 1)]
        self.marks = [10.0**mark if log else mark for mark in marks]

    def place(self, value):
        value = math.log10(value) if self.log else value
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def _step(span):
    """A round number of which four to ten make ``span``."""
    unit = 10.0 ** math.floor(math.log10(span / 4))
    return next(unit * n for n in (1, 2, 5, 10) if span / (unit * n) <= 10)


def chart(x_text, y_text, groups, log=False):
    """An SVG drawing of :class:`Dots` and :class:`Line` groups.

    Parameters
    ----------
    x_text, y_text : str
        What the axes say.
    groups : list of Dots or Line
        Not empty; with logarithmic axes all values above 0.
    log : bool
        Whether both axes are logarithmic.

    Returns
    -------
    str
    """
    points = [point for group in groups for point in group.points]
    x = _Axis([point[0] for point in points], LEFT, WIDTH - RIGHT, log)
    y = _Axis([point[1] for point in points], HEIGHT - BOTTOM, TOP, log)
    drawn = [
        {
            "label": group.label,
            "colour": COLOURS[n % len(COLOURS)],
            "line": isinstance(group, Line),
            "points": [(x.place(p[0]), y.place(p[1]), *p[2:]) for p in group.points],
        }
        for n, group in enumerate(groups)
    ]
    marks = {
        "x_marks": [(x.place(value), f"{value:,.6g}") for value in x.marks],
        "y_marks": [(y.place(value), f"{value:,.6g}") for value in y.marks],
    }
    edges = {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM}
    size = {"width": WIDTH, "height": HEIGHT + 20 * (len(groups) > 1)}
    return render("chart.svg", groups=drawn, x_text=x_text, y_text=y_text, **marks, **edges, **size)
