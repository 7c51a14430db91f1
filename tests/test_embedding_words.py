import random

import pytest
from celosia.rtl.mac.group_scales import GroupFormat
from celosia.rtl.token.embedding_words import EmbeddingWords
from celosia.sim import bench


@pytest.mark.parametrize("offsets", [False, True])
def test_matches_exact_sums(offsets):
    groups, rng = GroupFormat(4, 1, 2, offsets, planes=True), random.Random(offsets)
    words, expected = [], []
    for n in range(200):
        extreme = n % 7 == 0
        total = [0, 0, 0]
        for upper in rng.choice([[0], [1, 0]]):
            codes = [-8 if extreme else rng.randrange(-8, 8) for _ in total]
            scale = 4080 if upper or extreme else rng.randrange(256)
            parameters = {"scale": scale}
            offset = rng.choice([-2048, 2047, rng.randrange(-2048, 2048)]) if offsets else 0
            if offsets:
                parameters["offset"] = offset
            words.append({"codes": codes, "parameters": parameters, "upper": upper})
            total = [t + c * scale + offset for t, c in zip(total, codes, strict=True)]
        expected.append(total)
    cases = [{"inputs": {"i": words}, "counts": len(expected), "stall": s} for s in (0, 0.5)]
    results = bench.run_many(EmbeddingWords(3, groups), cases)
    for result in results:
        assert result.outputs["o"] == expected
    assert results[0].cycles == len(words) + 3


@pytest.mark.parametrize("lanes", [0, 65])
def test_lanes(lanes):
    with pytest.raises(ValueError, match=f"lanes must be from 1 to 64, not {lanes}"):
        EmbeddingWords(lanes, GroupFormat(4, 2, 5, True))
