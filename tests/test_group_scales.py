"""rtl.group_scales against the rules of the tape, number by number."""

import random

import pytest
from celosia.rtl.mac.group_scales import GroupFormat, GroupScales
from celosia.sim import bench

FORMATS = {
    "4 bits with offsets": GroupFormat(4, shortest=2, longest=5, offsets=True),
    "4 bits with offsets of 8": GroupFormat(4, 2, 3, offsets=True, offset_width=8),
    "8 bits, groups of one word": GroupFormat(8, shortest=1, longest=1, offsets=False),
    "3 bits, more words than parts": GroupFormat(3, shortest=16, longest=33, offsets=True),
}


def groups_of(rng, rows, lanes, groups, count):
    """Words of ``count`` groups, and what leaves."""
    low, high = -(1 << groups.weight_width - 1), (1 << groups.weight_width - 1) - 1
    words, expected = [], []
    for _ in range(count):
        size = rng.randint(groups.shortest, groups.longest)
        parameters = [{"scale": rng.choice([0, 255, rng.randrange(256)])} for _ in range(rows)]
        if groups.offsets:
            for p in parameters:
                unit = 1 << (12 - groups.offset_width)
                p["offset"] = rng.choice([-2048, 2048 - unit, rng.randrange(-2048, 2048, unit)])
        offset_bits = [
            (p.get("offset", 0) & 0xFFF) >> (12 - groups.offset_width) for p in parameters
        ]
        bits = [p["scale"] | n << 8 for p, n in zip(parameters, offset_bits, strict=True)]
        for n in range(size):
            part = n - (size - groups.parts)
            mask = (1 << groups.part_width) - 1
            parts = [
                b >> part * groups.part_width & mask if part >= 0 else rng.randrange(mask + 1)
                for b in bits
            ]
            weights = [[rng.randint(low, high) for _ in range(lanes)] for _ in range(rows)]
            words.append({"weights": weights, "parts": parts, "last": int(n == size - 1)})
            expected.append({"weights": weights, "parameters": parameters})
    return words, expected


@pytest.mark.parametrize("name", FORMATS)
def test_each_word_leaves_with_its_groups_parameters(name):
    groups, rng = FORMATS[name], random.Random(name)
    words, expected = groups_of(rng, 3, 2, groups, 40)
    cases = [{"inputs": {"i": words}, "stall": stall} for stall in (0, 0.5, 0.8)]
    results = bench.run_many(GroupScales(3, 2, groups), cases)
    for result in results:
        assert result.outputs["o"] == expected
    first = next(n for n, word in enumerate(words) if word["last"]) + 1
    assert results[0].latency == first + 1
    assert results[0].cycles <= len(words) + groups.longest + 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_width": 9}, "weight_width must be from 2 to 8, not 9"),
        ({"shortest": 0}, "shortest must be from 1 to 128, not 0"),
        ({"longest": 1}, "longest must be from 2 to 128, not 1"),
        ({"offset_width": 7}, "offset_width must be from 8 to 12, not 7"),
        ({"offset_width": 8, "planes": True}, "offset_width must be from 12 to 12, not 8"),
    ],
)
def test_format_refuses(change, message):
    values = {"weight_width": 4, "shortest": 2, "longest": 3, "offsets": True}
    with pytest.raises(ValueError, match=message):
        GroupFormat(**values | change)


@pytest.mark.parametrize(("rows", "lanes", "name"), [(0, 2, "rows"), (2, 65, "lanes")])
def test_refuses(rows, lanes, name):
    groups = FORMATS["4 bits with offsets"]
    with pytest.raises(ValueError, match=name):
        GroupScales(rows, lanes, groups)
