"""Charts: where values come to lie, and that the pictures are well-formed."""

from xml.etree import ElementTree

import pytest
from command_line import SVG

from celosia.page.chart import Dots, Line, bars, chart


def places(picture):
    root = ElementTree.fromstring(picture)
    return [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter(f"{SVG}circle")]


@pytest.mark.parametrize("log", [False, True])
def test_equal_steps_are_equal_distances(log):
    values = [1, 10, 100] if log else [0, 50, 100]
    (x0, y0), (x1, y1), (x2, y2) = places(
        chart("x", "y", [Dots("a", [(v, v, "<&>") for v in values])], log)
    )
    assert x0 < x1 < x2
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y0 > y2  # upwards


def test_marks_are_round_numbers_around_the_values():
    root = ElementTree.fromstring(chart("x", "y", [Line("a", [(0, 3), (7, 41)])]))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[:8] == ["0", "1", "2", "3", "4", "5", "6", "7"]
    assert texts[8:18] == [str(5 * n) for n in range(10)]


@pytest.mark.parametrize("log", [False, True])
def test_a_single_point_has_its_place(log):
    ((x, y),) = places(chart("x", "y", [Dots("a", [(5, 5, "")])], log))
    assert 80 <= x <= 740
    assert 16 <= y <= 328


def test_bars_are_as_long_as_their_values():
    root = ElementTree.fromstring(bars([("a", 10, "ten"), ("b", 5, "five"), ("c", 0, "")]))
    lengths = [float(bar.get("width")) for bar in root.iter(f"{SVG}rect")]
    assert lengths == [460.0, 230.0, 0.0]
    assert "five" in [text.text for text in root.iter(f"{SVG}text")]
