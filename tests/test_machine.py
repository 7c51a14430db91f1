"""The whole machine through its host link: every token and every logit equal to the reference."""

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.protocol.messages import Reason
from celosia.reference import integer
from celosia.reference.model import ModelConfig, random_model
from celosia.reference.quantization.calibration import calibrate
from celosia.rtl.machine.run_counters import CAUSES, COUNTERS, SATURATED
from celosia.sim.driver import Driver, DriverError
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport

# dim, hidden, layers, heads, kv heads, head_dim, vocab, seq_len, tied; then --set
MACHINES = {
    "smallest": ((16, 24, 2, 4, 2, 4, 37, 24, True), "tiny", ()),
    "odd sizes, untied": ((18, 22, 1, 3, 1, 6, 41, 20, False), "tiny", ("token_parallelism=2",)),
    "large scores, gates and logits": (
        (18, 22, 2, 3, 1, 6, 41, 24, False),
        "tiny",
        ("token_parallelism=2",),
    ),
    "heads of 256": ((8, 8, 1, 1, 1, 256, 20, 24, True), "tiny", ()),
    "narrow formats, external memory": (
        (16, 24, 2, 4, 2, 4, 37, 24, True),
        "tiny",
        ("memory=axi", "axi_width=32", "weight_width=5"),
    ),
    "groups of 3 bits, head of 6": (
        (48, 84, 1, 3, 1, 16, 41, 24, True),
        "tiny",
        (
            *("weight_parallelism=16", "vector_lanes=4", "token_parallelism=2", "group_size=16"),
            *("weight_width=3", "head_width=6", "memory=axi", "axi_width=64"),
        ),
    ),
    "groups of 8 bits, untied": (
        (32, 40, 1, 2, 2, 16, 41, 24, False),
        "tiny",
        ("group_size=32",),
    ),
    "head of 1.5 blocks": (
        (24, 36, 2, 3, 3, 6, 50, 32, True),
        "tiny",
        ("weight_parallelism=32", "vector_lanes=4", "token_parallelism=4"),
    ),
    "rows that are no power of two": (
        (24, 36, 2, 3, 3, 6, 50, 32, True),
        "tiny",
        (
            *("weight_parallelism=48", "vector_lanes=4", "token_parallelism=2"),
            *("kv_memory=axi", "kv_axi_width=32"),
        ),
    ),
    "six rows": (
        (18, 22, 1, 3, 1, 6, 41, 20, False),
        "tiny",
        ("weight_parallelism=12", "token_parallelism=2"),
    ),
    "external cache of 4 bits": (
        (24, 36, 2, 3, 3, 6, 50, 32, True),
        "tiny",
        (
            *("weight_parallelism=32", "vector_lanes=4", "token_parallelism=2"),
            *("kv_memory=axi", "kv_axi_width=32", "value_steps=token"),
            *("key_width=4", "value_width=4"),
        ),
    ),
    "activations of 5 bits, transforms, keys of 6 without their mean, values of 4": (
        (16, 24, 2, 4, 2, 4, 37, 24, True),
        "tiny",
        (
            *("value_steps=token", "key_mean=removed", "key_width=6", "value_width=4"),
            *("activation_width=5", "rotate_down=4", "rotate_keys=4"),
        ),
    ),
    "values of four blocks in a beat": (
        (24, 60, 2, 3, 3, 6, 50, 32, True),
        "tiny",
        ("weight_parallelism=192", "vector_lanes=4", "softmax_lanes=4"),
    ),
    "four paths of scores": (
        (32, 40, 2, 4, 2, 6, 41, 96, False),
        "tiny",
        (
            *("weight_parallelism=64", "vector_lanes=2", "softmax_lanes=8", "group_size=16"),
            *("weight_width=4", "key_width=4", "offset_width=8"),
        ),
    ),
    "two weights in a multiplier": (
        (18, 22, 2, 4, 2, 4, 41, 40, True),
        "tiny",
        (
            *("weight_parallelism=16", "vector_lanes=2", "token_parallelism=2"),
            *("weight_width=4", "packing=18x18", "head_width=8", "sampler_lanes=1"),
        ),
    ),
    "two weights of groups in a multiplier, an external cache": (
        (24, 36, 1, 4, 2, 8, 50, 32, False),
        "tiny",
        (
            *("weight_parallelism=96", "vector_lanes=4", "weight_width=4", "packing=18x18"),
            *("group_size=8", "head_width=8", "attention_parallelism=16"),
            *("kv_memory=axi", "kv_axi_width=32"),
        ),
    ),
    "two weights, keys or values of 4 bits in a multiplier": (
        (18, 22, 2, 4, 2, 4, 41, 40, True),
        "tiny",
        (
            *("weight_parallelism=32", "vector_lanes=2", "weight_width=4", "packing=18x18"),
            *("key_width=4", "value_width=4", "value_steps=token"),
        ),
    ),
    "ternary weights, products of keys and values": (
        (18, 22, 2, 4, 2, 4, 41, 40, True),
        "tiny",
        (
            *("weight_parallelism=64", "vector_lanes=2", "attention_parallelism=16"),
            *("weight_format=ternary", "weight_width=2", "head_width=8", "softmax_lanes=4"),
            *("sampler_lanes=1", "gate_lanes=1"),
        ),
    ),
    "five ternary weights in a byte, a head of 4 bits, external memory": (
        (18, 22, 2, 4, 2, 4, 41, 40, True),
        "tiny",
        (
            *("weight_parallelism=64", "vector_lanes=2", "attention_parallelism=16"),
            *("weight_format=trits", "weight_width=2", "head_width=4"),
            *("memory=axi", "axi_width=32", "kv_memory=axi", "kv_axi_width=32"),
        ),
    ),
    "external cache": (
        (24, 36, 2, 3, 3, 6, 50, 32, True),
        "tiny",
        (
            *("weight_parallelism=32", "vector_lanes=4", "token_parallelism=2"),
            *("kv_memory=axi", "kv_axi_width=32"),
        ),
    ),
}

# What a model's matrices are multiplied by, so that it needs other formats than most.
LARGE = {"wq": 60, "wk": 20, "w_gate": 150, "w_down": 0.01, "head": 2000}


class Narrow:
    """A calibration that has seen a part of everything only: formats in which values saturate."""

    def __init__(self, calibration):
        self.calibration = calibration
        self.positions = calibration.positions

    def largest(self, name, layer=None):
        return self.calibration.largest(name, layer) / 8

    def key_mean(self, layer):
        return self.calibration.key_mean(layer)

    def centred_keys(self, layer):
        return self.calibration.centred_keys(layer) / 8

    def residual(self):
        return self.calibration.residual() / 64


def _ternary(model):
    """The model, its layers' matrices ternary."""
    for layer in model.layers:
        for name, weight in layer.items():
            if weight.ndim == 2:
                step = np.abs(weight).mean(axis=1, keepdims=True)
                layer[name] = (np.clip(np.round(weight / step), -1, 1) * step).astype(np.float32)


def random_machine(sizes, settings, config="tiny", seed=0, narrow=False, large=False):
    """A plan, its simulation and a driver for a random model of ``sizes``."""
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size")
    model_config = ModelConfig(**dict(zip((*names, "seq_len", "tied"), sizes, strict=True)))
    model = random_model(model_config, seed=seed)
    seen = None
    if {"weight_format=ternary", "weight_format=trits"} & set(settings):
        _ternary(model)
    if large:
        for name, factor in LARGE.items():
            for tensors in [model.tensors] if name == "head" else model.layers:
                tensors[name] = tensors[name] * np.float32(factor)
    if narrow:
        for layer in model.layers:
            layer["w_down"] *= 4096
            layer["wq"] *= 16
            layer["wk"] *= 16
        seen = Narrow(calibrate(model))
    plan = make_plan(model, load_config(config, settings), seen)
    simulation = NativeSimulation(to_verilog(plan.machine()), optimise="-O0")
    attach(plan, simulation)
    return plan, simulation, Driver(NativeTransport(simulation), COUNTERS)


def attach(plan, simulation):
    """Give the simulation the external memory that ``plan`` asks for, slow and stalling."""
    if plan.config.memory == "axi":
        for port, image in enumerate(plan.images()):
            simulation.memory(port, image, latency=30, stall=60)
    if plan.config.kv_memory == "axi":
        unknown = np.random.default_rng(0).integers(0, 256, plan.cache_bytes, np.uint8)
        simulation.memory("kv", unknown, latency=50, stall=60)


def logits_of(plan, simulation):
    """The tapped logits, int[tokens, vocab_size]."""
    lanes, vocab = plan.shape.lanes, plan.shape.vocab_size
    _, payload = simulation.taps("logits")
    bits = np.unpackbits(payload, axis=1, bitorder="little")[:, : 24 * lanes]
    values = bits.reshape(len(payload), lanes, 24) @ (1 << np.arange(24))
    values = np.where(values >= 1 << 23, values - (1 << 24), values)
    return values.reshape(-1, -(-vocab // lanes) * lanes)[:, :vocab]


#: Minutes to build, or others have what they test.
SLOW = (
    "heads of 256",
    "six rows",
    "groups of 8 bits, untied",
    "head of 1.5 blocks",
    "external cache",
    "odd sizes, untied",
    "narrow formats, external memory",
    "external cache of 4 bits",
    "values of four blocks in a beat",
    "four paths of scores",
    "two weights of groups in a multiplier, an external cache",
    "two weights, keys or values of 4 bits in a multiplier",
    "ternary weights, products of keys and values",
    "five ternary weights in a byte, a head of 4 bits, external memory",
)


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MACHINES],
)
def machine(request):
    sizes, config, settings = MACHINES[request.param]
    narrow = "narrow" in request.param
    large = "large" in request.param
    found = *random_machine(sizes, settings, config, narrow=narrow, large=large), narrow
    shape = found[0].shape
    if large:
        assert shape.score_width - shape.score_fraction > 8
        assert max(shape.gate_fraction, shape.logit_fraction) < 12
    return found


@pytest.mark.parametrize(
    ("prompt_length", "count", "temperature", "seed"),
    [(1, 6, 0, 0), (5, 4, 0, 0), (4, 5, 300, 7), (9, 1, 0, 0), (11, 8, 4000, 12345)],
)
def test_equals_reference(machine, prompt_length, count, temperature, seed):
    plan, simulation, driver, narrow = machine
    rng = np.random.default_rng(prompt_length)
    prompt = rng.integers(0, plan.shape.vocab_size, prompt_length).tolist()
    simulation.forget()
    run = driver.run(prompt, count, temperature=temperature / 256, seed=seed)
    tokens = [token.token for token in run]
    cache = integer.IntegerCache.empty(plan.model)
    expected, logits = integer.generate(plan.model, prompt, count, temperature, seed, cache)
    np.testing.assert_array_equal(logits_of(plan, simulation), logits)
    assert tokens == expected
    counters = run.done.counters
    assert counters["cycles"] == sum(counters[name] for name in CAUSES)
    saturated = [counters[name] for name in SATURATED]
    assert saturated == [*cache.saturated.values()]
    if narrow:
        assert min(saturated[1:]) > 0, counters  # the residual's in the longest run at least
        assert saturated[0] > 0 or prompt_length < 11


@pytest.fixture(scope="module")
def external():
    return random_machine(*MACHINES["narrow formats, external memory"][::2], narrow=True)


def test_a_memory_fault_ends_the_run(external):
    """SLVERR, DECERR, no such address: no wrong token, and the next run is right."""
    plan, simulation, driver = external
    (image,) = plan.images()
    expected = integer.generate(plan.model, [1, 2, 3], 4)[0]
    faults = (
        lambda: simulation.fault(0, 400, response=2),
        lambda: simulation.fault(0, image.size - 1, response=3),
        lambda: simulation.memory(0, image[:400]),
    )
    for fault in faults:
        fault()
        run = driver.run([1, 2, 3], 4)
        with pytest.raises(DriverError, match="external memory answered with an error"):
            list(run)
        assert (run.done.reason, run.heard) == (Reason.FAULT, 1)
        assert not driver.status().busy
        attach(plan, simulation)
        assert [token.token for token in driver.run([1, 2, 3], 4)] == expected


def test_a_fault_loses_one_token_only(external):
    """Tokens before the fault are good."""
    plan, simulation, driver = external
    expected = integer.generate(plan.model, [1, 2, 3], 4)[0]
    run = driver.run([1, 2, 3], 4)
    tokens = [next(run).token, next(run).token]
    simulation.fault(0, 400)
    with pytest.raises(DriverError, match="external memory answered with an error"):
        tokens.extend(token.token for token in run)
    assert tokens == expected[: len(tokens)]
    assert len(tokens) in (2, 3)
