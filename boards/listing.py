"""What ``celosia boards`` says of each board: a demo model that it holds, and how fast."""

from dataclasses import dataclass
from importlib.resources import files

import msgspec
from celosia.boards.catalog import BOARDS
from celosia.boards.estimate import MACHINES, default_clock, fitting_config, largest_text
from celosia.generators.estimate.report import estimate_report
from celosia.reference.checkpoint import load

__all__ = ["DEMOS", "Listed", "Routed", "listed", "routed_figures"]

DEMOS = ("demo", "demo-small", "demo-tiny")  # the better ones first
#: Positions that a demo must see to be better than the next one: with windows of 32, 16 and 8 demo
#: has perplexities of 14.71, 16.82 and 27.61, demo-small 15.19 (docs/figures.md).
LEAST_WINDOW = 32
POSITION = 100  # whose token is counted, as celosia build does


@dataclass(frozen=True)
class Listed:
    """A board's row.

    Parameters
    ----------
    board : object
        Of :data:`celosia.boards.catalog.BOARDS`.
    demo : str
        The first of :data:`DEMOS` that it holds with a window of use, or empty.
    machine : str
        For that, in words; or what is missing.
    speed : float or None
        In tokens per second.
    source : str
        Of the speed: ``routed``, ``estimated`` or empty.
    """

    board: object
    demo: str
    machine: str
    speed: float | None = None
    source: str = ""


class Routed(msgspec.Struct):
    """What of a build's report names a machine and its speed."""

    board: str = ""
    model: str = ""
    config: dict = {}
    tokens_per_second: float | None = None

    def is_of(self, board, model, config):
        """Whether it is the report of this machine; a configuration's name does not count."""
        given = {name: value for name, value in self.config.items() if name != "name"}
        same = all(getattr(config, name, None) == value for name, value in given.items())
        return (self.board, self.model) == (board.name, model.name) and same


def routed_figures():
    """The reports in bench/boards: a list of :class:`Routed`."""
    texts = (each.read_text("utf-8") for each in files("celosia.figures").iterdir() if _is(each))
    return [
        each for each in (msgspec.json.decode(text, type=Routed) for text in texts) if each.model
    ]


def _is(path):
    return path.name.endswith(".json")


def listed():
    """A :class:`Listed` for each board, in their order."""
    models, figures = [load(name, None) for name in DEMOS], routed_figures()
    return [_listed(board, models, figures) for board in BOARDS.values()]


def _listed(board, models, figures):
    for model in models:
        try:
            config = fitting_config(model.config, board)
        except LookupError:
            continue
        if model is not models[-1] and config.window in range(1, LEAST_WINDOW):
            continue
        machine = MACHINES[config.machine].text(config)
        for found in figures:
            if found.is_of(board, model, config):
                return Listed(board, model.name, machine, found.tokens_per_second, "routed")
        cycles = estimate_report(model, config, 1, POSITION + 1, board)["cycles"][-1]
        speed = board.clock(default_clock(board, config, model.config)) / cycles
        return Listed(board, model.name, machine, speed, "estimated")
    return Listed(board, "", largest_text(models[-1], board))
