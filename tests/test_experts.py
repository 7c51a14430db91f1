"""Mixtures of experts: their integers, their program, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from celosia.boards.estimate import estimate
from celosia.generators.config import ConfigError, load_config
from celosia.generators.plan import make_plan
from celosia.generators.program.tape_writer import TapeWriter
from celosia.reference import checkpoint, float32, integer
from celosia.reference.operations import experts
from celosia.reference.operations.experts import Experts, IntegerExperts
from celosia.reference.quantization.formats import router_fraction
from celosia.reference.quantization.quantize import quantize
from celosia.rtl.machine.collect import Collect
from families.cases import CASES

CASE = "mixtral-two"


def load(name, tmp_path):
    (case,) = (case for case in CASES if case.name == name)
    return checkpoint.load(case.write(tmp_path / name)), case.tokens


def with_experts(model, change):
    """The model, each of its experts changed by ``change(index, op)``."""
    layers = tuple(
        tuple(change(index, op) if isinstance(op, Experts) else op for op in layer)
        for index, layer in enumerate(model.description.layers)
    )
    return replace(model, description=replace(model.description, layers=layers))


def test_integers_follow_the_float_model(tmp_path, monkeypatch):
    model, tokens = load(CASE, tmp_path)
    quantized = quantize(model)
    chosen = []

    def watched(*arguments):
        found = router(*arguments)
        chosen.append(found[0])
        return found

    router = experts.router
    monkeypatch.setattr(experts, "router", watched)
    logits = integer.forward(quantized, tokens) * 2.0**-quantized.logit_fraction
    exact = float32.forward(model, tokens)
    assert np.median(np.abs(logits - exact)) < 0.03 * np.ptp(exact)
    for numbers in chosen:  # of each layer: they change from token to token
        assert len({tuple(row) for row in numbers.tolist()}) > 4
        assert (numbers[1:] != numbers[:-1]).any(axis=1).mean() > 0.3


def test_token_by_token_is_the_same(tmp_path):
    model, tokens = load(CASE, tmp_path)
    quantized = quantize(model)
    together = integer.forward(quantized, tokens[:9])
    cache = integer.IntegerCache.empty(quantized)
    alone = [integer.forward(quantized, [token], cache) for token in tokens[:9]]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_router_formats_follow_the_calibration(tmp_path):
    assert router_fraction(1.0, 1.25) == 14
    assert router_fraction(1e4, 1.25) == 8
    with pytest.raises(ValueError, match="the router's logits reach 10,000,000, which no format"):
        router_fraction(1e7, 1.25)
    model, _ = load(CASE, tmp_path)
    model.layers[1]["router"] = model.layers[1]["router"] * np.float32(1000)
    assert quantize(model).router_fraction < 14


def test_passes_read_the_experts_that_are_chosen(tmp_path):
    plan = make_plan(load(CASE, tmp_path)[0], load_config("tiny"))
    program, tapes = plan.program, plan.tapes
    found = [op for layer in plan.model.layers for op in layer if isinstance(op, IntegerExperts)]
    runs = [run for run in program.runs if run.chosen]
    assert len(runs) == len(found) * found[0].source.k
    for place, op in enumerate(found):
        first, second = runs[2 * place : 2 * place + 2]
        assert first == second
        for number, parts in enumerate(op.experts):
            writer = TapeWriter(plan.model, plan.config.rows)
            for part in parts:
                writer.matrix(part.matrix)
                writer.scales(part.matrix.scale)
            expected = writer.tapes(program, {})
            for (address, count), tape, words in (
                (first.weights, tapes.weights, expected.weights),
                (first.scales, tapes.scales, expected.scales),
            ):
                assert count == len(words)
                start = address + number * count
                np.testing.assert_array_equal(tape[start : start + count], words)
    n, k = found[0].n, found[0].source.k
    unread = len(found) * (n - k) * first.weights[1]
    table = program.loads[0].address - runs[-1].weights[0]  # what lies before it is all read
    assert program.weight_words[1] == sum(run.weights[1] for run in program.runs)
    assert program.weight_words[1] + unread == table + runs[-1].weights[0]


def test_ideal_counts_experts_that_are_chosen(tmp_path):
    plan = make_plan(load(CASE, tmp_path)[0], load_config("tiny"))
    one = with_experts(plan.model, lambda index, op: replace(op, k=1)).description
    (op, *_) = plan.model.description.find(Experts)
    dim = plan.model.config.dim
    layers = plan.model.config.n_layers
    assert plan.macs(5) - one.macs(6) == layers * (op.k - 1) * 3 * op.hidden_dim * dim
    assert plan.ideal_cycles(5) == plan.macs(5) / plan.shape.multipliers


@pytest.mark.parametrize("name", [CASE, "qwen3_moe-sparse"])
def test_estimate_counts_all_experts(name, tmp_path):
    model, _ = load(name, tmp_path)
    plan = make_plan(model, load_config("tiny"))
    there = estimate(model.config, load_config("tiny", ["memory=sdram"]))
    assert there.sdram == plan.tapes.weights.size
    dense = estimate(replace(model.config, family="llama"), plan.config)
    assert estimate(model.config, plan.config).lut > dense.lut


def test_refusals(tmp_path):
    model, _ = load(CASE, tmp_path)
    with pytest.raises(ConfigError, match="token_parallelism must be 1 for a model with experts"):
        make_plan(model, load_config("tiny", ["token_parallelism=2"]))
    mixed = with_experts(model, lambda index, op: replace(op, k=1 + index))
    with pytest.raises(ConfigError, match="layers with different numbers of experts need two"):
        make_plan(mixed, load_config("tiny"))
    with pytest.raises(ValueError, match="tokens must be 1 with experts, not 2"):
        Collect(8, 4, 2, 32, with_experts=True)
