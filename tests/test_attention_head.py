"""The attention head of examples/: what it prints, and its hardware against its twin."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from celosia.generators.components import synthesis
from celosia.sim import bench

pytestmark = pytest.mark.slow  # half a minute to build
EXAMPLE = Path(__file__).parents[1] / "examples" / "attention_head.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


def test_it_is_simulated_and_priced(example, capsys, monkeypatch):
    asked = []

    def synthesise(component, target):
        asked.append((type(component).__name__, target))
        return {"lut": 1234}

    monkeypatch.setattr(synthesis, "synthesise", synthesise)
    example["main"](price=True)
    printed = capsys.readouterr().out
    assert "equal to the twin: True" in printed
    assert "on an ECP5: {'lut': 1234}" in printed
    assert asked == [("AttentionHead", "ecp5")]
    error = float(printed.split("largest error: ")[1].split()[0])
    assert 0 < error < 3


def test_extreme_values_under_stalls(example):
    """Two sets of keys and values, one after the other: each query meets its own."""
    chooser = np.random.default_rng(1)
    streams, expected = {}, []
    for _ in range(2):
        queries = chooser.choice([-2048, -1, 0, 2047], (9, 8))
        keys, values = chooser.integers(-128, 128, (2, 8, 8))
        for name, words in example["words"](queries, keys, values).items():
            words = [word | {"data": word["data"].tolist()} for word in words]
            streams.setdefault(name, []).extend(words)
        expected += example["attention_head"](queries, keys, values).tolist()
    found, _ = bench.run(example["AttentionHead"](), streams, len(expected), stall=0.5, seed=2)
    assert [word["data"] for word in found] == expected
    assert [n for n, word in enumerate(found) if word["last"]] == [8, 17]
