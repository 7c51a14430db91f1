"""The compact machine's dot products against exact sums, beats with and without gaps."""

import numpy as np
import pytest
from celosia.rtl.compact.fabric import CompactFabric
from python_bench import simulate

#: Rows, columns, bits of weights, whether the chip's blocks are small, ternary rows, cycles to the
#: first result.
FORMS = (
    *((4, 4, 4, True, 0, 3), (4, 4, 4, False, 0, 4), (8, 8, 4, False, 0, 4)),
    *((16, 4, 8, False, 0, 4), (2, 4, 8, True, 10, 3), (2, 4, 4, False, 5, 4)),
    (2, 8, 8, False, 10, 4),
)


def drawn(rng, width, shape):
    """Integers of so many bits, many of them at the limits."""
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    x = rng.integers(low, high + 1, shape)
    return np.where(rng.random(shape) < 0.3, rng.choice([low, high], shape), x)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_matches_exact_sums(stall, form):
    rows, lanes, width, small, more, latency = form
    rng, acc_width = np.random.default_rng(1), 25
    unit = CompactFabric(acc_width, rows, lanes, width, small, more)
    beats, expected, most = [], [], max(rows, more)
    for n in range(30):
        cached, length = n % 3 == 2, int(rng.integers(most, most + 5)) if n else 64
        ternary = more and n % 3 == 1
        x = drawn(rng, 8, (length, lanes))
        weights = drawn(rng, width, (length, rows, lanes))
        octets = drawn(rng, 8, (length, lanes))
        trits = rng.integers(-1, 2, (length, more, lanes))
        if n == 0:
            x[:], weights[:] = -128, -1 << width - 1
        sums = np.einsum("nl,nrl->r", x, trits if ternary else weights).tolist()
        expected.append([int((x * octets).sum())] if cached else sums)
        for k in range(length):
            ends = {"last": int(k == length - 1), "cached": int(cached)}
            given = {"x": x[k], "weights": weights[k], "bytes": octets[k]}
            if more:
                given["trits"], ends["ternary"] = trits[k], int(ternary)
            beats.append(({name: value.tolist() for name, value in given.items()}, ends))
    found, dones, lasts, tiles = [], [], [], []

    async def bench(ctx):
        place, left, taking = 0, 0, False
        for cycle in range(4 * len(beats) + 2 * most + 20):
            go = place < len(beats) and rng.random() >= stall
            ctx.set(unit.beat, go)
            if go:
                given, ends = beats[place]
                for name, value in (given | ends).items():
                    ctx.set(getattr(unit, name), value)
                place += 1
                if ends["last"]:
                    lasts.append(cycle)
                    tiles.append(1 if ends["cached"] else more if ends.get("ternary") else rows)
            if taking:
                found[-1].append(ctx.get(unit.result))
                left -= 1
            ctx.set(unit.next, taking)
            if ctx.get(unit.done):
                dones.append(cycle)
                left = tiles[len(found)]
                found.append([])
            taking = left > 0
            await ctx.tick()

    simulate(unit, bench)
    assert found == expected
    assert dones == [cycle + latency - 1 for cycle in lasts]  # the first result a cycle later


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((15,), "acc_width must be from 16 to 30, not 15"),
        ((31,), "acc_width must be from 16 to 30, not 31"),
        ((20, 5), "rows must be 2, 4, 8 or 16, columns 4 or 8 and .*, not 5, 4 and 4"),
        ((20, 4, 4, 8, True), "small must be of four rows of four columns of 4 bits, or of two"),
        ((20, 4, 4, 4, False, 4), "ternary_rows must be 0 or from 5 to 128, not 4"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        CompactFabric(*arguments)
