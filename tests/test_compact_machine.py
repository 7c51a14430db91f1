"""The compact machine in native simulation: every logit, through its host link."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth import Mux, Signal
from celosia.generators.compact.program import write_compact
from celosia.generators.config import ConfigError, load_config
from celosia.generators.estimate.compact import predict_compact
from celosia.generators.files.generate import generate
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import load
from celosia.reference.compact.quantize import quantize_compact
from celosia.reference.model import ModelConfig, random_model
from celosia.rtl.compact.operands import CompactOperands
from celosia.rtl.compact.operation import Control, Instruction
from celosia.rtl.compact.products import CompactProducts
from celosia.rtl.memory.spram import SPRAM_DEPTH, Spram
from celosia.sim.driver import Driver, DriverError
from celosia.sim.native import NativeSimulation
from celosia.sim.native_transport import NativeTransport
from celosia.sim.request import Request
from celosia.sim.simulate import compare, machine_verilog, simulate, summary
from families.cases import CASES

# Odd sizes, groups of queries, an embedding of its own, a window shorter than the sequence.
ODD = ModelConfig(
    dim=24, hidden_dim=22, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=8, vocab_size=37,
    seq_len=24, tied=False,
)  # fmt: skip
SETTINGS = ["max_seq_len=24", "window=12"]


def check(plan, requests, **options):
    """Whether the machine's tokens and logits are the reference's; the last run."""
    verilog = machine_verilog(plan)
    with NativeSimulation(verilog, ("logits", "passes"), **options) as simulation:
        simulation.record(taps=True)
        for request in requests:
            run = simulate(plan, simulation, request)
            result = summary(plan, run, compare(plan, run))
            predicted = predict_compact(plan, len(request.prompt), len(run.tokens))
            assert run.cycles == predicted.cycles
            assert result["matches_reference"]
            assert result["logits_match"]
        return run, result


@pytest.fixture(scope="module")
def plan():
    return make_plan(random_model(ODD, seed=5), load_config("compact", SETTINGS))


def test_every_logit(plan):
    tokens = np.random.default_rng(6).integers(0, 37, 15).tolist()
    requests = [Request((3,), 24), Request((3, 36), 2), Request(tuple(tokens), 10)]
    run, result = check(plan, requests)
    # A token takes the same cycles behind a whole window; those without logits fewer.
    assert run.counters["cycles"] == sum(run.cycles)
    assert len(set(run.cycles[16:])) == 1
    assert run.cycles[1] < run.cycles[12] == run.cycles[13] < run.cycles[16] <= 4200
    assert result["overhead"]["serial"] == sum(run.cycles) - sum(result["ideal_cycles"])


@pytest.mark.slow
def test_what_is_read_where_it_is_written_is_not_used(monkeypatch):
    """On an ECP5 that may be anything (boards/ecp5.py): here it is the word's complement."""
    octets, words = CompactProducts._memory, CompactOperands._memory

    def spoilt(m, unit, read, data, word, en):
        collides = Signal()
        m.d.sync += collides.eq(en & (unit.target >> word == read))
        return Mux(collides, ~data, data)

    def products(self, m, name, depth, place, en):
        data = octets(self, m, name, depth, place, en)
        return spoilt(m, self, place, data, self.shape.columns.bit_length() - 1, en)

    def operands(self, m, name, width, depth, init, en):
        read = words(self, m, name, width, depth, init, en)
        return SimpleNamespace(addr=read.addr, data=spoilt(m, self, read.addr, read.data, 0, en))

    monkeypatch.setattr(CompactProducts, "_memory", products)
    monkeypatch.setattr(CompactOperands, "_memory", operands)
    config = load_config("compact", ["max_seq_len=24", "window=8", "boot=image"])
    check(make_plan(random_model(ODD, seed=5), config), [Request((3, 5), 16)], optimise="-O0")


def test_what_it_refuses(plan):
    with NativeSimulation(machine_verilog(plan), ("logits", "passes")) as simulation:
        driver = Driver(NativeTransport(simulation), plan.counters)
        with pytest.raises(
            DriverError, match="takes the most likely token: the temperature must be 0"
        ):
            driver.run([1], 2, temperature=0.5)
        with pytest.raises(DriverError, match="refused run: its runs begin at position 0"):
            driver.run([1], 2, start=4)
        run = driver.run([1, 2], 20, stop=None)
        driver.abort()
        assert len(list(run)) < 20
        reference = compare(plan, _Asked(Request((1,), 8)))[0]
        run = driver.run([1], 8, stop=reference[4])
        assert [t.token for t in run] == reference[: reference.index(reference[4]) + 1]
    with pytest.raises(ConfigError, match="temperature must be 0"):
        plan.generate([1], 1, 5, 0)


class _Asked:
    stopped = False

    def __init__(self, request):
        self.request = request


#: Of each family a case: those of the first, between them, have every instruction of the machine.
FIRST = ("gpt2-scales", "qwen3-window")
OTHERS = (
    *("llama-biases", "mistral-window", "qwen2-tied", "gemma-tied", "granite-factors"),
    *("gpt_neo-relu", "gpt_neox-serial", "gpt_neox-parallel", "opt-untied", "starcoder2-window"),
    *("phi3-fraction", "falcon_e-grouped"),
)


@pytest.mark.parametrize(
    "name", [*FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_families(name, tmp_path):
    """Biases, learned positions, norms of heads, other activations, parts that do not turn."""
    (case,) = (case for case in CASES if case.name == name)
    model = load(case.write(tmp_path / name))
    plan = make_plan(model, load_config("compact", ["max_seq_len=40", "window=4"]))
    prompt = tuple(int(token) for token in case.tokens[:11])
    check(plan, [Request(prompt[:1], 2), Request(prompt, 8)], optimise="-O0")


@pytest.mark.slow
def test_stories260k(stories260k_model):
    plan = make_plan(stories260k_model, load_config("compact"))
    assert len(plan.image.weights) <= SPRAM_DEPTH
    run, _ = check(plan, [Request((1, 403, 407), 200)])
    assert run.cycles[100] <= 45_000


TRITS = ["weight_format=trits", "weight_width=8", "weight_parallelism=8", "vector_lanes=4"]


def test_ternary_weights():
    """Forty a beat, five in a byte, and eight of 8 bits in the head."""
    plan = make_plan(load("demo-ternary", None), load_config("compact", TRITS))
    assert plan.shape.multipliers == 40
    assert 8 * len(plan.image.weights) == 123_904
    assert plan.formats["weights"] == "ternary, head int8, one of 16 scales per row"
    check(plan, [Request((43, 299), 4)], optimise="-O0")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("weight_parallelism=16", "weight_width=4", "vector_lanes=4"),
        ("weight_parallelism=16", "weight_width=8", "vector_lanes=8"),
    ],
)
def test_ternary_weights_in_block_ram(settings):
    config = load_config("compact", ["weight_format=trits", "boot=image", *settings])
    plan = make_plan(load("demo-ternary", None), config)
    check(plan, [Request((43, 299), 4)], optimise="-O0")


def test_ternary_weights_that_are_none():
    config = load_config("compact", [*TRITS, "max_seq_len=24"])
    model = random_model(LARGER, seed=5)
    match = "layers.0.wq has a row of weights that are not -s, 0 and s: they are not ternary"
    with pytest.raises(ConfigError, match=match):
        make_plan(model, config)
    biased = random_model(replace(LARGER, options={"attention_bias": True}), seed=5)
    with pytest.raises(ConfigError, match=r"wq has a bias: ternary matrices .* have none"):
        make_plan(biased, config)


def test_weights_that_do_not_fit():
    match = "has no such machine: its weights take 202,752 bytes of the memory's 131,072"
    with pytest.raises(ConfigError, match=match):
        make_plan(load("demo", None), load_config("compact"))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"dim": 22}, "dim must be a multiple of 4, not 22"),
        ({"head_dim": 6}, "head_dim must be a multiple of 4, not 6"),
        ({"dim": 12}, "dim must be from 16 to 2048, not 12"),
        ({"n_heads": 258}, r"n_heads \* head_dim must be from 16 to 2048, not 2064"),
        ({"hidden_dim": 12}, "hidden_dim must be from 16 to 8192, not 12"),
    ],
)
def test_sizes_it_cannot_have(sizes, message):
    quantized = quantize_compact(random_model(replace(ODD, **sizes), seed=5), 4)
    with pytest.raises(ValueError, match=message):
        write_compact(quantized, 24)


def test_files(plan, tmp_path):
    report = generate(plan, tmp_path / "out")
    assert report["memory_map"]["weights"]["bytes"] == 8 * len(plan.image.weights)
    words = (tmp_path / "out" / "weights.hex").read_text().split()
    assert [int(word, 16) for word in words] == plan.image.weights
    scales = (tmp_path / "out" / "scales.hex").read_text().split()
    assert [int(word, 16) for word in scales] == plan.image.scales


def test_no_such_machine():
    model = random_model(replace(ODD, vocab_size=65_537), seed=5)
    with pytest.raises(ConfigError, match="vocab_size must be at most 65536, not 65537"):
        make_plan(model, load_config("compact", ["max_seq_len=24"]))
    model, wide = random_model(ODD, seed=5), ["max_seq_len=24", "boot=image", "vector_lanes=8"]
    with pytest.raises(ConfigError, match="dim must be from 64 to 2048, not 24"):
        make_plan(model, load_config("compact", [*wide, "weight_parallelism=64"]))
    with pytest.raises(ConfigError, match="window must be a multiple of 8, not 12"):
        make_plan(model, load_config("compact", [*wide, "weight_parallelism=64", "window=12"]))


#: Machines with their tapes in block RAM, of more weights or wider ones; large vectors.
LARGER = ModelConfig(
    dim=64, hidden_dim=200, n_layers=2, n_heads=9, n_kv_heads=3, head_dim=8, vocab_size=1100,
    seq_len=24, tied=True,
)  # fmt: skip
HUGE = replace(LARGER, dim=512, hidden_dim=1300, n_heads=40, n_kv_heads=8, n_layers=1, tied=False)
SAMPLED = "sampling=temperature"
SHAPES = (
    (HUGE, "weight_parallelism=16", "vector_lanes=4", "weight_width=8"),
    (HUGE, "weight_parallelism=64", "vector_lanes=4", "weight_width=4"),
    (LARGER, "weight_parallelism=16", "vector_lanes=4", "weight_width=4"),
    (LARGER, "weight_parallelism=32", "vector_lanes=4", "weight_width=4"),
)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (LARGER, ("weight_parallelism=64", "vector_lanes=8", "weight_width=8", SAMPLED)),
        *(pytest.param(model, settings, marks=pytest.mark.slow) for model, *settings in SHAPES),
    ],
)
def test_shapes(model, settings):
    config = load_config("compact", ["max_seq_len=24", "window=8", "boot=image", *settings])
    plan = make_plan(random_model(model, seed=5), config)
    assert plan.shape.multipliers == config.weight_parallelism
    requests = [Request((3,), 2), Request((1099, 1023, 1024), 12)]
    if SAMPLED in settings:
        requests += [Request((5, 6), 6, 15.0, seed=7), Request((5, 6), 6, 15.0, seed=8)]
        drawn = [plan.generate(one.prompt, one.count, one.heat, one.seed)[0] for one in requests]
        assert drawn[2] != drawn[3]
    check(plan, requests, optimise="-O0")


def test_parameters_out_of_range():
    with pytest.raises(ValueError, match="an instruction's shift must have 5 bits, not 32"):
        Instruction(Control(), 1, shift=32)
    with pytest.raises(ValueError, match="an instruction's count must be at least 0, not -1"):
        Instruction(Control(), -1)
    with pytest.raises(ValueError, match="width must be a multiple of 16 from 16 to 256, not 60"):
        Spram(60)
    with pytest.raises(ValueError, match="init must have up to 16384 words, not 16385"):
        Spram(16, [0] * (SPRAM_DEPTH + 1))
