"""Reports and memory images: what they say of a machine, checked against the machine."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from celosia.generators.config import ConfigError, load_config
from celosia.generators.files.generate import check_memory, hex_words
from celosia.generators.files.report import machine_report, memories
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference.families import describe
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.operations.attention import IntegerAttention
from celosia.reference.operations.embed import IntegerEmbed
from integer_operations import matrices, only


@pytest.fixture
def plan(tiny_config):
    model = random_model(tiny_config(tied=False), seed=2)
    return make_plan(model, load_config("tiny", ["weight_parallelism=16", "weight_width=6"]))


def test_report_is_json_and_the_same_each_time(plan):
    report = machine_report(plan)
    assert json.loads(json.dumps(report)) == json.loads(json.dumps(machine_report(plan)))
    assert report["multipliers"] == 16
    assert list(report["ideal_cycles"]) == ["0"]  # 16 positions have no position 100
    assert report["ideal_cycles"]["0"] == plan.macs(0) / 16
    assert report["model"]["hash"] == plan.info.model_hash.hex()
    assert report["config"]["weight_width"] == 6


def test_memory_map_covers_the_tapes(plan):
    """Sections follow one another without gaps, and the tapes end where they do."""
    tapes = machine_report(plan)["memory_map"]
    lengths = {"weights": len(plan.tapes.weights), "scales": len(plan.tapes.scales)}
    lengths["gains"] = len(plan.tapes.gains) * plan.shape.dim_words
    assert [tape["word_bytes"] for tape in tapes.values()] == [16 * 6 // 8, 4, 4]
    for name, tape in tapes.items():
        assert tape["bytes"] == lengths[name] * tape["word_bytes"]
        address = 0
        for section in tape["sections"]:
            assert section["address"] == address
            address += section["bytes"]
        assert address == tape["bytes"]


def test_sections_are_where_the_map_says(plan):
    """The first rows of some matrices, read from the tape at their sections."""
    tape = machine_report(plan)["memory_map"]["weights"]
    places = {s["name"]: s["address"] // tape["word_bytes"] for s in tape["sections"]}
    model = plan.model
    first, second = (matrices(layer) for layer in model.layers)
    values = only(model.layers[1], IntegerAttention).value_scale
    table = only(model.begin, IntegerEmbed).table
    for name, op in (
        ("layers.0.wq", first["wq"]),
        ("layers.1.wo", second["wo"]),
        ("layers.1.w_gate+w_up", second["w_gate+w_up"]),
        ("layers.1.w_down", second["w_down"]),
        ("head", matrices(model.end)["head"]),
        ("embedding", table),
    ):
        np.testing.assert_array_equal(plan.tapes.weights[places[name]], op.weight[:8, :2])
    scales = machine_report(plan)["memory_map"]["scales"]
    places = {s["name"]: s["address"] // scales["word_bytes"] for s in scales["sections"]}
    for name, expected in (
        ("layers.1.wv", second["wv"].scale),
        ("layers.1.values", values.reshape(-1)),
        ("layers.1.w_down", second["w_down"].scale),
        ("embedding", table.scale),
    ):
        np.testing.assert_array_equal(plan.tapes.scales[places[name]], expected[:2])


def test_memories_of_a_machine(plan):
    """The tape and both caches are there with their sizes."""
    report = machine_report(plan, to_verilog(plan.machine()))
    found = {(m["width"], m["depth"]) for m in report["memories"] if "tape" in m["module"]}
    assert (16 * 6, len(plan.tapes.weights)) in found
    assert report["memory_bits"] == sum(m["width"] * m["depth"] for m in report["memories"])
    cache = sum(m["bits"] for m in report["memories"] if m["module"] == "top.value_cache")
    shape = plan.shape
    positions = shape.max_seq_len
    assert cache >= shape.n_layers * shape.n_kv_heads * shape.head_words * 2 * positions * 8


def test_memories_in_verilog():
    text = """
module top(clk);
  reg [7:0] state;
  reg [511:0] memory [1279:0];
  reg \\one$bit  [3:0];
endmodule

module \\top.part (clk);
  reg [1:0] few [8:0];
endmodule
"""
    assert memories(text) == [
        {"module": "top", "name": "memory", "width": 512, "depth": 1280, "bits": 655360},
        {"module": "top", "name": "one$bit", "width": 1, "depth": 4, "bits": 4},
        {"module": "top.part", "name": "few", "width": 2, "depth": 9, "bits": 18},
    ]


def test_hex_words():
    assert hex_words(np.array([[1, -2], [127, -128]]), 8) == ["fe01\n", "807f\n"]
    assert hex_words(np.array([[1, -1, 0, -2]]), 4) == ["e0f1\n"]
    assert hex_words(np.array([[65535, 1]]), 16) == ["0001ffff\n"]


def test_memory_limit():
    """Three quarters of a gigabyte of weights fit no chip; behind AXI only the cache counts."""
    sizes = {"dim": 2048, "hidden_dim": 8192, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8}
    sizes |= {"head_dim": 64, "vocab_size": 100}
    config = ModelConfig(**sizes, seq_len=2048)
    model = SimpleNamespace(config=config, description=describe(config))
    on_chip, axi = (load_config("small", [f"memory={kind}"]) for kind in ("on_chip", "axi"))
    with pytest.raises(ConfigError, match=r"need \d+\.\d MiB on chip, more than 64"):
        check_memory(model, on_chip)
    check_memory(model, axi)
    model.config = ModelConfig(**sizes, seq_len=8192)
    with pytest.raises(ConfigError, match="choose a smaller max_seq_len"):
        check_memory(model, axi)
