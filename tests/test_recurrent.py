import numpy as np
import pytest
from amaranth import unsigned
from celosia.reference.functions.functions import gating
from celosia.reference.units.recurrent import STATE_WIDTH, fill, filling, release
from celosia.rtl.recurrent.recurrent import Part, Recurrent, told_layout
from celosia.sim import bench
from framing import frame

EDGES = [0, 1, -1, (1 << 16) - 1, 1 << 16, -(1 << 16), (1 << 19) - 1, -(1 << 19), 1 << 19]
EDGES += [(1 << 17) - 1, 1 << 17, -(1 << 17), -(1 << 17) - 1, (1 << 23) - 1, -(1 << 23)]


def vectors(chooser, shape):
    """Edges and random values of every size."""
    x = chooser.integers(-1 << 23, 1 << 23, shape) >> chooser.integers(0, 22, shape)
    x.flat[: len(EDGES)] = EDGES[: x.size]
    return x


def told(part, layer):
    return told_layout().const({"part": part, "layer": layer}).as_bits()


def passes(count, fresh, words, lanes, most, fraction, state_fraction, shift, width, tokens=1):
    """Words of some passes through all layers, and the results; of up to ``tokens`` in turn."""
    chooser = np.random.default_rng(count)
    inputs, expected = [], []
    states = [np.zeros((words, lanes), np.int64) for _ in most]
    for _ in range(count):
        group = chooser.integers(1, tokens + 1)
        for layer, row in enumerate(np.array(most).reshape(-1, words, 1, lanes)):
            z, i, output = (vectors(chooser, (words, group, lanes)) for _ in "zio")
            kinds = chooser.integers(0, 4, (words, group))
            for part, x in zip(Part, (z, i, output), strict=True):
                inputs += frame(x, told(part, layer), set=kinds)
            state = 0 * states[layer] if fresh else states[layer]
            share, seen = filling(z, row, fraction), []
            for token in range(group):
                state = fill(state, i[:, token], share[:, token], fraction, state_fraction)
                seen.append(state)
            states[layer], seen = state, np.stack(seen, axis=1)
            y = release(seen, output, shift, fraction, state_fraction, width)
            expected += frame(y, told(Part.RELEASE, layer), set=kinds)
    return inputs, expected


@pytest.mark.parametrize(
    ("lanes", "words", "tokens", "fraction", "state_fraction", "shift", "width"),
    [(4, 3, 1, 12, 15, 6, 24), (2, 1, 1, 9, 25, 20, 23), (2, 3, 4, 12, 15, 6, 24)],
)
def test_matches_reference(lanes, words, tokens, fraction, state_fraction, shift, width):
    most = np.random.default_rng(1).integers(0, (1 << 16) + 1, (3, words * lanes))
    most[0, :2] = 0, 1 << 16
    sizes = lanes, words, most.tolist(), fraction, state_fraction, shift, width, tokens
    for position, stall in ((0, 0.0), (9, 0.0), (9, 0.4)):
        rest = words, lanes, most, fraction, state_fraction, shift, width, tokens
        inputs, expected = passes(12, position == 0, *rest)
        component = Recurrent(*sizes, set=unsigned(2))
        settings = {"position": position}
        result = bench.run(
            component, {"i": inputs}, len(expected), stall=stall, seed=3, settings=settings
        )
        assert result.outputs["o"] == expected


def test_speed():
    lanes, words = 2, 40
    inputs, expected = passes(1, True, words, lanes, [[1 << 16] * 80], 12, 15, 6, 24)
    component = Recurrent(lanes, words, [[1 << 16] * 80], 12, 15, 6, 24, set=unsigned(2))
    result = bench.run(component, {"i": inputs}, len(expected), settings={"position": 0})
    taken, given = result.stream_cycles["i"], result.stream_cycles["o"]
    gap = component.latency - 1  # before another part
    assert taken == [n + gap * (n // words) for n in range(3 * words)]
    assert given == [n + component.latency for n in taken[2 * words :]]


def test_speed_of_several_tokens():
    """Filling takes 4 cycles for each token but a word's first one; the rest a cycle a word."""
    lanes, words, tokens = 2, 10, 4
    x = np.ones((words, tokens, lanes), np.int64)
    inputs = [word for part in Part for word in frame(x, told(part, 0))]
    component = Recurrent(lanes, words, [[1 << 16] * 20], 12, 15, 6, 24, tokens)
    result = bench.run(component, {"i": inputs}, words * tokens, settings={"position": 0})
    taken = np.diff(result.stream_cycles["i"]).reshape(-1)
    steps = [1] * (words * tokens - 1), [4, 4, 4, 1] * words, [1] * (words * tokens - 1)
    gap = component.latency
    expected = [*steps[0], gap, *steps[1][:-1], gap, *steps[2]]
    assert taken.tolist() == expected


@pytest.mark.parametrize("share", [50, 2000])
def test_error_does_not_grow_with_the_sequence(share):
    """Of a state that forgets in ``2**16 / share`` positions, filled for many times as long."""
    chooser = np.random.default_rng(share)
    fraction, count, channels = 15, 8_000, 8
    i = chooser.integers(-12_000, 12_000, (count, channels))
    exact = i * gating(i, "silu") * 2.0 ** (fraction - 12 - 16)
    state, real, errors = np.zeros(channels, np.int64), np.zeros(channels), []
    for x, new in zip(i, exact, strict=True):
        state = fill(state, x, share, 12, fraction)
        real += share * 2.0**-16 * (new - real)
        errors.append(np.abs(state - real).max())
    half = count // 2
    least = 1.0 + (1 << 16) / share  # half a unit for each filling that is not forgotten, doubled
    assert max(errors) <= min(least, 40 * least**0.5)
    assert max(errors[half:]) <= 1.5 * max(errors[:half])


def test_what_a_share_of_nothing_leaves():
    state = np.array([-(1 << 17), -1, 0, 5, (1 << 17) - 1])
    np.testing.assert_array_equal(fill(state, EDGES[3], 0, 12, 15), state)
    full = 1 << 16
    new = fill(state, np.int64(3000), full, 12, 15)
    assert (new == new[0]).all()


def test_states_stay_within_what_filled_them():
    chooser = np.random.default_rng(2)
    state = np.zeros(4, np.int64)
    for _ in range(2000):
        x = chooser.choice(EDGES, 4)
        share = filling(chooser.choice(EDGES, 4), np.full(4, 1 << 16), 12)
        state = fill(state, x, share, 12, 12)
        assert np.abs(state).max() < 1 << STATE_WIDTH - 1


MOST = [[0] * 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, MOST, 12, 12, 0), "lanes must be from 1 to 64, not 0"),
        ((4, 0, MOST, 12, 12, 0), "words must be from 1 to 4096, not 0"),
        ((4, 1, [], 12, 12, 0), r"len\(most\) must be from 1 to 64, not 0"),
        ((4, 1, [[0] * 3], 12, 12, 0), r"each of most must be int\[4\] from 0 to 2\*\*16"),
        ((4, 1, [[65537] * 4], 12, 12, 0), r"each of most must be int\[4\] from 0 to 2\*\*16"),
        ((4, 1, MOST, 13, 13, 0), "fraction must be from 0 to 12, not 13"),
        ((4, 1, MOST, 9, 26, 0), "state_fraction must be from 9 to 25, not 26"),
        ((4, 1, MOST, 12, 12, 36), "shift must be from 0 to 35, not 36"),
        ((4, 1, MOST, 12, 12, 0, 25), "o_width must be from 16 to 24, not 25"),
        ((4, 1, MOST, 12, 12, 0, 24, 65), "tokens must be from 1 to 64, not 65"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Recurrent(*arguments)
