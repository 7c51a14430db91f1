"""A whole machine on AXI: tape, KV cache and host by cocotbext-axi, under the rules of AXI4."""

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.reference import integer
from celosia.reference.checkpoint import load
from celosia.reference.model import ModelConfig, random_model
from celosia.rtl.machine.run_counters import COUNTERS, SATURATED
from celosia.sim import bench
from celosia.sim.simulate import decode_logits

pytest.importorskip("cocotbext.axi", reason="needs cocotbext-axi: pip install celosia[test]")

SETTINGS = ("memory=axi", "axi_width=32", "axi_ports=2", "kv_memory=axi", "control=axi_lite")
SMALL = ModelConfig(
    dim=16,
    hidden_dim=24,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=4,
    vocab_size=37,
    seq_len=24,
)


def talk(model, settings, requests, latency, stall):
    """What a machine of ``model`` says to ``requests``, and what the reference says."""
    plan = make_plan(model, load_config("tiny", (*SETTINGS, *settings)))
    size = plan.cache_bytes
    step = plan.config.kv_axi_width // 8
    given = {
        "images": [image.tobytes() for image in plan.images()],
        "cache": np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes(),
        "axi_width": plan.config.axi_width,
        "kv_width": plan.config.kv_axi_width,
        "requests": requests,
        "logits_width": 24 * plan.shape.lanes,
        "many": 12,
        "latency": latency,
        "stall": stall,
        "tape_byte": 64,
        "kv_byte": size // 2 // step * step,  # the first value
    }
    answer = bench.run_program(plan.machine(), "bench_axi_machine", given)
    expected, logits = [], []
    for prompt, count in requests:
        cache = integer.IntegerCache.empty(plan.model)
        tokens, some = integer.generate(plan.model, prompt, count, cache=cache)
        expected.append((tokens, [*cache.saturated.values()]))
        logits.append(some)
    logits = np.concatenate(logits)
    words = [word.to_bytes(3 * plan.shape.lanes, "little") for word in answer.pop()]
    payload = np.frombuffer(b"".join(words), np.uint8).reshape(len(words), -1)
    np.testing.assert_array_equal(decode_logits(plan.shape, payload)[: len(logits)], logits)
    return answer, expected


def check(answer, expected):
    runs, faults, (first, rest, aborted), bursts = answer
    for (tokens, counters, registers, interrupt), (right, saturated) in zip(
        runs, expected, strict=True
    ):
        assert tokens == right
        assert [counters[name] for name in SATURATED] == saturated
        assert registers == [counters[name] for name in COUNTERS]
        assert interrupt == 2
    tokens, _ = expected[0]
    assert faults == 3 * [(True, 2), (tokens, 0)]
    assert first == tokens[0]
    assert aborted
    assert len(rest) < 11
    assert min(bursts) > 50


@pytest.mark.slow
def test_small_model():
    model = random_model(SMALL, seed=0)
    settings = ("weight_width=7", "token_parallelism=2", "kv_axi_width=64")
    check(*talk(model, settings, [([3, 1, 4], 3), ([30, 36], 2)], 40, 0.2))


@pytest.mark.slow
def test_demo_model():
    """A prompt of the demo model, word for word through the registers."""
    model = load("demo")
    prompt = model.tokenizer.encode("ROMEO:")
    settings = ("weight_parallelism=64", "vector_lanes=8", "kv_axi_width=128")
    check(*talk(model, settings, [(prompt, 3)], 20, 0.1))
