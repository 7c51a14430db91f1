"""What ``celosia boards`` says: a demo model for each board, and where its speed comes from."""

from dataclasses import asdict

import pytest
from celosia.boards import listing
from celosia.boards.catalog import BOARDS
from celosia.boards.estimate import fitting_config
from celosia.boards.listing import Routed, listed, routed_figures
from celosia.reference.checkpoint import load


@pytest.fixture
def some_boards(monkeypatch):
    """A board for each case: the demo, the small one, the tiny one, none."""
    names = ("ulx3s_85f", "icebreaker", "tang_nano_9k", "nothing")
    nothing = type("Nothing", (), {**vars(type(BOARDS["icebreaker"])), "resources": {}})()
    boards = {name: BOARDS.get(name, nothing) for name in names}
    monkeypatch.setattr(listing, "BOARDS", boards)
    monkeypatch.setattr(listing, "routed_figures", list)


@pytest.mark.usefixtures("some_boards")
def test_the_best_demo_that_fits(monkeypatch):
    large, small, tiny, none = listed()
    assert (large.demo, large.source) == ("demo", "estimated")
    assert (small.demo, small.source) == ("demo-small", "estimated")
    assert small.machine.startswith("compact, ")
    assert large.speed > small.speed > 500
    assert (tiny.demo, tiny.source) == ("demo-tiny", "estimated")
    assert tiny.machine.startswith("compact, 40 ternary weights or 16 weights of 4 bits, ")
    assert (none.demo, none.speed, none.source) == ("", None, "")
    assert none.machine.startswith("none: one layer takes ")


@pytest.mark.usefixtures("some_boards")
def test_a_routed_figure_is_of_the_very_machine(monkeypatch):
    board, model = BOARDS["icebreaker"], load("demo-small", None)
    config = asdict(fitting_config(model.config, board)) | {"name": "mine"}
    for changes, source in (({}, "routed"), ({"window": 4}, "estimated")):
        figure = Routed(board.name, model.name, config | changes, 1234.5)
        monkeypatch.setattr(listing, "routed_figures", lambda figure=figure: [figure])
        row = listed()[1]
        assert row.source == source
        assert (row.speed == 1234.5) == (source == "routed")


def test_the_figures_are_there():
    found = {(each.board, each.model) for each in routed_figures()}
    assert ("ulx3s_85f", "stories260K") in found
    for each in routed_figures():
        assert each.board in BOARDS
        assert each.tokens_per_second > 0
