import numpy as np
import pytest
import scripted
from celosia.reference.units.kv_controller import KvPaged, Operation
from celosia.reference.view import PagedView, View, slot_positions
from celosia.rtl.kv_cache.slots import Slots, check_slots, view_table

MOST = (1 << 20) - 1  # the last position


def visible(seen, slots):
    """Which slots a ``seen_layout`` names."""
    s = np.arange(slots)
    first, last = s <= seen["slot"], s >= seen["oldest"]
    return first | last if seen["wrapped"] else first & last


@pytest.mark.parametrize(
    ("views", "tokens"),
    [
        ((View(12, 9),), 4),  # the least slots
        ((View(8, 8), View(6, 1), View(1 << 20)), 1),
        ((View(24, 10), View(1 << 20), View(16, 13), View(24, 10)), 4),
    ],
)
def test_slots_of_positions(views, tokens):
    _, numbers = view_table(views)
    latency = 22 + tokens
    positions = [*range(0, 40, tokens), 77, 77, 1000, MOST - tokens + 1, 0]
    ports = [(layer, token) for layer in range(len(views)) for token in range(tokens)]
    cycles = []
    for position in positions:
        asked = [*[ports[0]] * latency, *ports]
        for n, (layer, token) in enumerate(asked):
            other = asked[-1 - n]
            cycles.append(
                {
                    "position": position,
                    "asked__0": {"layer": layer, "token": token},
                    "asked__1": {"layer": other[0], "token": other[1]},
                }
            )
    outputs = scripted.play(Slots(views, tokens), cycles)
    assert not outputs[0]["ready"]
    size = latency + len(ports)
    for n, position in enumerate(positions):
        window = outputs[n * size + latency : (n + 1) * size]
        for (layer, token), found in zip(ports, window, strict=True):
            t = position + token
            assert found["ready"]
            view = views[layer]
            assert found["slot__0"] == (t % view.slots if view.wraps else t)
            expected = slot_positions(t, views[layer]) if views[layer].slots < 100 else None
            seen = found["seen"][numbers[layer]][token]
            if expected is None:
                assert (seen["slot"], seen["oldest"], seen["wrapped"]) == (t, 0, 0)
            else:
                assert (visible(seen, views[layer].slots) == (expected >= 0)).all()
    repeated = (positions.index(77) + 1) * size
    assert all(found["ready"] for found in outputs[repeated : repeated + size])


def test_linear_slots_are_positions_at_once():
    cycles = [
        {"position": p, "asked__0": {"layer": 0, "token": t}, "asked__1": {"layer": 1, "token": 0}}
        for p, t in ((0, 0), (5, 3), (100, 2))
    ]
    outputs = scripted.play(Slots([View(200)] * 2, 4), cycles)
    assert [(o["ready"], o["slot__0"], o["slot__1"]) for o in outputs] == [
        (1, 0, 0),
        (1, 8, 5),
        (1, 102, 100),
    ]


@pytest.mark.parametrize("views", [(PagedView(24, page=8),), (View(8, 5), PagedView(24, page=8))])
def test_paged_slots_and_their_table(views):
    """Pages in an order that runs before have left, a gap, and both ports of the table."""
    model, cycles, expected = KvPaged(3, 8, 1, 4), [], []
    passes = [(0, 3), (4, 3), (8, 3), (15, 2), (0, 1), (2, 3), (6, 3), (9, 2), (12, 0), (5, 0)]
    layer, size = len(views) - 1, 110
    for position, group in [*passes, (8, 3)]:
        model(Operation.FREE, 0, length=position)
        while model.lengths[0] <= position + group:
            model(Operation.APPEND, 0)
        cycle = {"position": position, "group": group, "entry_en__0": 1, "entry_en__1": 1}
        for n in range(size):
            for port in (0, 1):
                page = (n + port) % len(model.tables[0])
                cycle |= {f"asked__{port}": {"layer": layer, "token": (n + port) % (group + 1)}}
                cycle |= {f"entry__{port}": {"block": page, "sequence": 0}}
            cycles.append({**cycle})
            expected.append([model.slot(0, position + n % (group + 1)), [*model.tables[0]]])
    outputs = scripted.play(Slots(views, 4), cycles)
    for n in (n for n in range(len(cycles)) if n % size > size - 10):
        found, (slot, table) = outputs[n], expected[n]
        assert found["ready"]
        assert found["slot__0"] == slot
        assert outputs[n - 1]["slot__1"] == slot
        for port in (0, 1):
            assert found[f"block__{port}"] == table[(n % size - 1 + port) % len(table)]
        assert found["seen"][layer][0]["slot"] == cycles[n]["position"]
    assert table == [2, 1]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (PagedView(24, page=4), r"page must be a multiple of rows \(8\), not 4"),
        (View(12, 4), r"slots must be a multiple of rows \(8\), not 12"),
        (View(8, 6), r"slots must be at least window \+ tokens - 1 \(9\), not 8"),
    ],
)
def test_rings_that_do_not_fit(view, message):
    with pytest.raises(ValueError, match=message):
        check_slots(view, 4, rows=8, lanes=4)


def test_bad_parameters():
    with pytest.raises(ValueError, match="the number of layers must be from 1 to 256, not 0"):
        Slots([])
    with pytest.raises(ValueError, match="tokens must be from 1 to 64, not 0"):
        Slots([View(8)], 0)
    with pytest.raises(ValueError, match="slots must be at least"):
        Slots([View(8, 8)], 2)
