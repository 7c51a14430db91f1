import numpy as np
import pytest
from celosia.reference.view import PagedView, View, layer_view, least_start, seen, slot_positions


def simulated(view, group, n):
    """The ring as a memory: what each slot holds when a group's tokens read, and which count."""
    slots = [-1] * view.slots
    for first in range(0, n, group):
        for t in range(first, first + group):
            slots[t % view.slots] = t
        for t in range(first, first + group):
            low = max(0, t + 1 - (view.window or n))
            yield t, [p if low <= p <= t else -1 for p in slots]


@pytest.mark.parametrize(
    ("view", "group"), [(View(8, 5), 4), (View(8, 8), 1), (View(6, 1), 3), (View(40), 4)]
)
def test_slots_hold_the_window(view, group):
    positions, expected = zip(*simulated(view, group, 36), strict=True)
    np.testing.assert_array_equal(slot_positions(positions, view), expected)


@pytest.mark.parametrize(("window", "slots"), [(5, 8), (8, 8), (2, 6), (4, 16)])
def test_a_run_goes_on_where_its_window_is_still_there(window, slots):
    view = View(slots, window)
    for cached in range(1, 40):
        there = set(range(max(0, cached - slots), cached))
        good = [s for s in range(cached + 1) if set(range(max(0, s - window + 1), s)) <= there]
        least = least_start([View(64), view], cached)
        assert good == [s for s in range(cached + 1) if s == 0 or s >= least]
    assert least_start([View(64)], 64) == 0


def test_seen_is_a_causal_window():
    mask = seen([0, 2, 5], 6, 3)
    assert [np.flatnonzero(row).tolist() for row in mask] == [[0], [0, 1, 2], [3, 4, 5]]
    assert seen([0, 4], 6).sum(axis=1).tolist() == [1, 5]


@pytest.mark.parametrize("window", [1, 5, 8, 13])
@pytest.mark.parametrize(("rows", "lanes", "tokens"), [(8, 4, 1), (4, 4, 6), (16, 2, 4)])
def test_blocks_of_slots_are_blocks_of_positions(window, rows, lanes, tokens):
    view = layer_view(window, 1000, rows, lanes, tokens)
    assert view.slots % rows == 0
    assert window + max(tokens, lanes) - 1 <= view.slots < window + max(tokens, lanes) - 1 + rows
    for t in range(100):
        blocks = slot_positions(t, view).reshape(-1, lanes)
        held = [{p // lanes for p in block if p >= 0} for block in blocks.tolist()]
        assert max(map(len, held)) == 1
        flat = sorted(p for p in blocks.reshape(-1).tolist() if p >= 0)
        assert flat == np.flatnonzero(seen([t], 100, window)[0]).tolist()


def test_no_window_is_a_linear_cache():
    assert layer_view(None, 50, 16, 4, 4) == View(50)
    assert layer_view(50, 50, 16, 4, 4) == View(50)
    assert not View(50).wraps
    paged = layer_view(None, 50, 16, 4, 4, 16, 4)
    assert paged == PagedView(64, page=16) != View(64)
    assert not paged.wraps
    assert layer_view(7, 50, 16, 4, 4, 16, 4) == layer_view(7, 50, 16, 4, 4)


def test_bad_parameters():
    with pytest.raises(ValueError, match="slots must be from 1 to 1048576, not 0"):
        View(0)
    with pytest.raises(ValueError, match=r"window must be from 1 to slots \(8\), not 9"):
        View(8, 9)
    for page in (0, 3, 16):
        with pytest.raises(ValueError, match=rf"page must be a power of two that .* not {page}"):
            PagedView(24, page=page)
