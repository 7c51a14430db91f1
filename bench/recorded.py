"""Simulated runs of large models that other files of this folder record, and their machines."""

import json
from pathlib import Path

from celosia.generators.config import Config, load_config
from celosia.reference.model import ModelConfig
from matmul_free import bitnet_config, bitnet_layer, model_config, settings

__all__ = ["STORIES", "recorded"]

FOLDER = Path(__file__).parent
STORIES = ModelConfig(
    dim=64, hidden_dim=172, n_layers=5, n_heads=8, n_kv_heads=4, head_dim=8, vocab_size=512,
    seq_len=512,
)  # fmt: skip
SMOLLM2 = ModelConfig(
    dim=576, hidden_dim=1536, n_layers=30, n_heads=9, n_kv_heads=3, head_dim=64, vocab_size=49152,
    seq_len=2048,
)  # fmt: skip
TEN_MILLION = ModelConfig(
    dim=320, hidden_dim=896, n_layers=8, n_heads=8, n_kv_heads=2, head_dim=40, vocab_size=4096,
    seq_len=128,
)  # fmt: skip
DEMO_MATMULFREE = ModelConfig(
    dim=96, hidden_dim=224, n_layers=4, n_heads=1, n_kv_heads=1, head_dim=2, vocab_size=512,
    seq_len=256, tied=False, family="hgrn_bit", options={"lower_bounds": True},
)  # fmt: skip
LLAMA = ModelConfig(
    dim=2048, hidden_dim=8192, n_layers=1, n_heads=32, n_kv_heads=8, head_dim=64,
    vocab_size=128256, seq_len=2048, rope_theta=500000.0,
)  # fmt: skip
LLAMA_SETTINGS = (
    *("weight_parallelism=1024", "vector_lanes=32", "token_parallelism=1", "weight_width=4"),
    *("memory=axi", "axi_width=512", "axi_ports=8", "max_seq_len=1056"),
)


def gemma3(layers):
    """The sizes of Gemma 3 270M, of its first layers."""
    windows = tuple(None if (n + 1) % 6 == 0 else 512 for n in range(layers))
    return ModelConfig(
        dim=640, hidden_dim=2048, n_layers=layers, n_heads=4, n_kv_heads=1, head_dim=256,
        vocab_size=262144, seq_len=2048, family="gemma3", options={"windows": windows},
    )  # fmt: skip


def _read(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def recorded():
    """Of each run its name, ModelConfig, Config, prompt's length, tokens, options and cycles."""
    for name, model in (
        ("smollm2_bandwidth", SMOLLM2),
        ("smollm2_answer", SMOLLM2),
        ("gemma3_270m_rtl", gemma3(2)),
        ("gemma3_270m_answer", gemma3(18)),
        ("demo_matmulfree_axi", DEMO_MATMULFREE),
    ):
        run = _read(name)
        length, cycles = len(run["prompt_tokens"]), run["cycles"]
        config = Config(**run["config"])
        yield name, model, config, length, len(cycles) - length + 1, {}, sum(cycles)
    for name, run in _read("matmul_free").items():
        run = run.get("simulated")
        if run and name == "bitnet":
            machine = bitnet_config(run["head_bits"])
            yield "bitnet, a layer", bitnet_layer(), machine, 2, 1, {}, sum(run["cycles"])
        elif run:
            cycles = run["cycles_layer"] + run["cycles_layer_and_head"]
            machine = load_config("small", settings(name))
            yield f"matmul_free, {name}", model_config(name), machine, 2, 1, {}, cycles
    small, figures = load_config("small"), _read("figures")
    yield "stories260K", STORIES, small, 1, 200, {}, figures["cycles"]
    for group, cycles in figures["prefill_cycles"].items():
        config = load_config("small", [f"token_parallelism={group}"])
        yield f"64 tokens, {group} a pass", STORIES, config, 64, 1, {}, cycles
    run = _read("llama_1b")
    counters, config = run["counters"], load_config("large", LLAMA_SETTINGS)
    options = {"start": run["position"] - 1, "latency": 60}
    yield "llama_1b, a layer", LLAMA, config, 2, 1, options, counters["cycles"]
    run = json.loads((FOLDER / "boards" / "ulx3s_85f.json").read_text())
    options = {"start": run["position"]}
    config = Config(**run["config"])
    yield "stories260K, ULX3S", STORIES, config, 1, 1, options, run["cycles_per_token"]
    run = json.loads((FOLDER / "boards" / "ulx3s_85f_sdram.json").read_text())
    options = {"start": run["position"] - 1}
    config = Config(weight_parallelism=32, vector_lanes=4, max_seq_len=128, memory="sdram")
    cycles = run["counters"]["cycles"]
    yield "10 million, SDRAM", TEN_MILLION, config, 1, 2, options, cycles
