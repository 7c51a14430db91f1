"""rtl.mac_fabric against exact integer dot products."""

from itertools import pairwise

import numpy as np
import pytest
from celosia.rtl.mac.format import MacFormat
from celosia.rtl.mac.group_scales import GroupFormat
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.sim import bench


def tiles(seed, rows, lanes, tokens, form, count, groups=None):
    """Random tiles of 1 to 5 beats, edge values among them; payloads and the exact results."""
    rng = np.random.default_rng(seed)
    beats, results = [], []
    high = (1 << (form.weight_width - 1)) - 1
    low = -high if form.ternary else ~high
    for n in rng.integers(1, 6, count):
        weights = rng.integers(low, high + 1, (n, rows, lanes))
        least = -1 << (form.activation_width - 1)
        mantissas = rng.integers(least, -least, (n, tokens, lanes))
        exponents = rng.integers(0, 16, (n, tokens))
        scales = rng.integers(0, 1 << groups.scale_width if groups else 2, (n, rows))
        offsets = rng.integers(-2048, 2048, (n, rows))
        if rng.random() < 0.3:
            weights[:], mantissas[:], exponents[:] = low, least, 15
            scales[:], offsets[:] = scales.max(), rng.choice([-2048, 2047])
        dots = np.einsum("nrl,ntl->ntr", weights, mantissas)
        if groups:
            dots = dots * scales[:, None]
            if groups.offsets:
                dots += offsets[:, None] * mantissas.sum(axis=-1)[..., None]
        dots = dots << exponents[..., None]
        results.append(dots.sum(axis=0).tolist())
        for k in range(n):
            blocks = zip(mantissas[k].tolist(), exponents[k].tolist(), strict=True)
            beats.append(
                {
                    "weights": weights[k].tolist(),
                    "activations": [{"mantissa": m, "exponent": e} for m, e in blocks],
                    "first": int(k == 0),
                    "last": int(k == n - 1),
                }
            )
            if groups:
                beats[-1]["parameters"] = [
                    {"scale": s} | ({"offset": o} if groups.offsets else {})
                    for s, o in zip(scales[k].tolist(), offsets[k].tolist(), strict=True)
                ]
    return beats, results


@pytest.mark.parametrize(
    ("rows", "lanes", "tokens", "form", "in_blocks"),
    [
        (4, 2, 1, MacFormat(packing="25x18"), False),
        (2, 8, 3, MacFormat(8, 4, packing="18x18"), True),
        (3, 4, 2, MacFormat(8, 2, ternary=True), False),
        (1, 1, 1, MacFormat(), False),
        (3, 5, 2, MacFormat(4, 4), False),
    ],
)
def test_matches_exact_sums(rows, lanes, tokens, form, in_blocks):
    fabric = MacFabric(rows, lanes, tokens, form, results_in_blocks=in_blocks)
    beats, expected = tiles(rows, rows, lanes, tokens, form, 40)
    cases = [
        {"inputs": {"i": beats}, "counts": len(expected), "stall": stall} for stall in (0, 0.5)
    ]
    for result in bench.run_many(fabric, cases):
        assert result.outputs["o"] == expected


def test_several_blocks_for_a_token():
    """Of two, each serves every other chunk of rows."""
    rows, lanes, tokens, parts = 8, 2, 2, 2
    fabric = MacFabric(rows, lanes, tokens, parts=parts)
    beats, every = tiles(5, rows, lanes, tokens * parts, MacFormat(), 40)
    expected = [
        [
            [tile[token * parts + row // lanes % parts][row] for row in range(rows)]
            for token in (0, 1)
        ]
        for tile in every
    ]
    for stall in (0, 0.5):
        result = bench.run(fabric, {"i": beats}, counts=len(expected), stall=stall)
        assert result.outputs["o"] == expected


CACHED = [  # rows, lanes, tokens, form, cached rows, parts
    (8, 2, 1, MacFormat(8, 4, packing="18x18"), 4, 2),
    (8, 8, 2, MacFormat(8, 2, packing="18x18"), 2, 1),
    (4, 4, 1, MacFormat(packing="25x18"), 2, 1),
    (6, 8, 1, MacFormat(8, 2, ternary=True), 2, 1),
    (3, 16, 2, MacFormat(8, 2, ternary=True), 1, 1),
    (4, 2, 1, MacFormat(8, 2, ternary=True), 4, 2),
    (4, 4, 1, MacFormat(8, 3), 3, 1),
]
#: Of some of these the multipliers that are no blocks: all, some, or none.
PORTABLE = (
    (*CACHED[0], 8),
    (*CACHED[0], 5),
    (*CACHED[1], 64),
    (*CACHED[2], 3),
    (4, 4, 1, MacFormat(8, 6, packing="25x18"), 1, 1, 8),
    *((*case, 0) for case in CACHED),
)


@pytest.mark.parametrize(
    ("rows", "lanes", "tokens", "form", "cached_rows", "parts", "portable"), PORTABLE
)
def test_rows_of_keys_and_values(rows, lanes, tokens, form, cached_rows, parts, portable):
    """Tiles of weights and of cached codes in turn, of different numbers of rows."""
    sizes = lanes, tokens * parts
    weighed, all_weights = tiles(rows, rows, *sizes, form, 40)
    coded, all_codes = tiles(lanes, cached_rows, *sizes, MacFormat(), 40)
    both = [_by_tile(weighed), all_weights], [_by_tile(coded), all_codes]
    rng = np.random.default_rng(rows)
    beats, expected = [], []
    for cached in rng.integers(0, 2, 60).tolist():
        tile_beats, results = (some.pop(0) for some in both[cached])
        for beat in tile_beats:
            codes = beat.pop("weights")
            other = rng.integers(-1, 2, (rows, lanes) if cached else (cached_rows, lanes)).tolist()
            given = {"weights": other, "cached": codes} if cached else {"weights": codes}
            beats.append({**beat, "cached": other, **given, "from_cache": cached})
        blocks = [row // lanes % parts for row in range(len(results[0]))]
        expected.append(
            [
                [results[token * parts + block][row] for row, block in enumerate(blocks)]
                for token in range(tokens)
            ]
        )
    options = {"parts": parts, "cached_rows": cached_rows, "portable": portable}
    fabric = MacFabric(rows, lanes, tokens, form, **options)
    for stall in (0, 0.5):
        result = bench.run(fabric, {"i": beats}, counts=len(expected), stall=stall)
        pairs = zip(result.outputs["o"], expected, strict=True)
        assert all([row[: len(e[0])] for row in tile] == e for tile, e in pairs)


def _by_tile(beats):
    """Lists of the beats of a tile each."""
    starts = [n for n, beat in enumerate(beats) if beat["first"]] + [len(beats)]
    return [beats[a:b] for a, b in pairwise(starts)]


GROUPS = {
    (4, 2, 1, 4): GroupFormat(4, 2, 2, offsets=True, planes=True),
    (2, 8, 2, 8): GroupFormat(8, 1, 1, offsets=False),
    (3, 1, 1, 3): GroupFormat(3, 4, 4, offsets=True),
}


@pytest.mark.parametrize("sizes", GROUPS)
def test_scales_and_offsets_of_groups(sizes):
    rows, lanes, tokens, width = sizes
    groups = GROUPS[sizes]
    form = MacFormat(weight_width=width)
    fabric = MacFabric(rows, lanes, tokens, form, acc_width=56, groups=groups)
    beats, expected = tiles(rows, rows, lanes, tokens, form, 40, groups)
    cases = [
        {"inputs": {"i": beats}, "counts": len(expected), "stall": stall} for stall in (0, 0.5)
    ]
    results = bench.run_many(fabric, cases)
    for result in results:
        assert result.outputs["o"] == expected
    assert results[0].cycles == len(beats) + fabric.latency


@pytest.mark.parametrize("in_blocks", [False, True])
def test_beats_wait_for_room(in_blocks):
    """Tiles of one beat, and results that are taken late: more of them than there is room for."""
    beats, expected = tiles(1, 1, 1, 1, MacFormat(), 700)
    kept = [k for k, beat in enumerate(beats) if beat["last"]]
    beats = [beats[k] | {"first": 1} for k in kept]
    expected = [
        [[b["weights"][0][0] * a["mantissa"][0] << a["exponent"]]]
        for b in beats
        for a in b["activations"]
    ]
    fabric = MacFabric(1, 1, results_in_blocks=in_blocks)
    cases = [{"inputs": {"i": beats}, "counts": 700, "stall": stall} for stall in (0, 0.8)]
    smooth, stalled = bench.run_many(fabric, cases)
    assert smooth.outputs["o"] == stalled.outputs["o"] == expected
    assert smooth.cycles == len(beats) + fabric.latency  # a tile each cycle


@pytest.mark.parametrize(("in_blocks", "latency"), [(False, 6), (True, 7)])
def test_latency_and_throughput(in_blocks, latency):
    fabric = MacFabric(2, 4, results_in_blocks=in_blocks)
    beats, expected = tiles(0, 2, 4, 1, MacFormat(), 30)
    result = bench.run(fabric, {"i": beats}, counts=len(expected))
    assert result.cycles == len(beats) + fabric.latency
    assert fabric.latency == latency


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rows", 0, "rows must be at least 1, not 0"),
        ("lanes", 0, "lanes must be at least 1, not 0"),
        ("tokens", 0, "tokens must be at least 1, not 0"),
        ("form", 8, "form must be a MacFormat, not 8"),
        ("rows", 3, "rows must be a multiple of 2, not 3"),
        ("parts", 0, "parts must be from 1 to 64, not 0"),
    ],
)
def test_refuses(name, value, message):
    sizes = {"rows": 2, "lanes": 2, "form": MacFormat(packing="25x18")}
    with pytest.raises(ValueError, match=message):
        MacFabric(**sizes | {name: value})


def test_refuses_accumulator():
    with pytest.raises(ValueError, match="acc_width must be from 24 to 56, not 60"):
        MacFabric(2, 2, acc_width=60)


def test_refuses_narrow_activations_with_cached_rows():
    with pytest.raises(ValueError, match="activation_width must be 8 with cached_rows, not 4"):
        MacFabric(2, 2, form=MacFormat(4, 8), cached_rows=1)
