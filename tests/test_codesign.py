"""``celosia codesign``: the law of the loss, the front that it finds, what it refuses."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from celosia.boards.catalog import BOARDS
from celosia.boards.estimate import check_fit
from celosia.generators.config import Config
from celosia.reference.model import ModelConfig
from command_line import drawings, fails, run

from celosia.codesign.front import Front, Point, Question, stored
from celosia.codesign.law import TERMS, fitted, known_models, quantities
from celosia.codesign.shapes import Grid

TEXT = Path(__file__).parent / "data" / "shakespeare_heldout.txt"
MODELS = known_models()
LAW = fitted(MODELS)
QUICK = ("--board", "icebreaker", "--trials", 12)


def test_the_committed_models_give_a_law():
    assert len({one.tokens for one in MODELS}) == 1
    assert LAW.terms == TERMS[: len(LAW.terms)]
    assert LAW.r2 > 0.8
    assert LAW.held_r2 > 0.7
    for one in MODELS:
        if not LAW.covers(one.config):
            continue
        assert abs(LAW.loss(one.config) - one.loss) < 2 * LAW.error(one.config)


def test_the_fit_finds_the_coefficients():
    """Of models that obey a law it is that law, whatever the held-out ones lose."""
    terms = LAW.terms
    true = np.linspace(1, -1, len(terms))

    def loss(config):
        logs = np.log(quantities(config))
        return float(sum(c * logs[list(term)].prod() for c, term in zip(true, terms, strict=True)))

    models = [replace(one, loss=loss(one.config)) for one in MODELS]
    law = fitted(models)
    np.testing.assert_allclose(law.coefficients, true, atol=1e-6)
    assert law.held_r2 == pytest.approx(1)
    models[3] = replace(models[3], loss=models[3].loss + 1)
    again = fitted(models)
    np.testing.assert_allclose(again.coefficients, true, atol=1e-6)
    assert again.held_error == pytest.approx(1)


def test_quantities():
    options = {"experts": 8, "chosen": 2, "renormalise": True}
    config = ModelConfig(64, 48, 3, 8, 2, 8, 512, 256, family="mixtral", options=options)
    np.testing.assert_allclose(quantities(config), [3, 64, 16, 1.5, 0.25])
    np.testing.assert_allclose(quantities(ModelConfig(64, 48, 3, 8, 2, 8, 512, 256))[3:], [0.75, 1])


def test_the_law_says_where_it_ends():
    grid = Grid(LAW, MODELS)
    assert len(grid.configs) > 100
    assert all(LAW.covers(config) for config in grid.configs.values())
    deeper = replace(MODELS[0].config, n_layers=int(LAW.ranges[1, 0]) + 1)
    assert not LAW.covers(deeper)
    place = next(iter(grid.configs))
    near = grid.beside(place)
    assert near
    assert place not in near
    assert all(np.count_nonzero(np.subtract(place, one)) in (1, 2) for one in near)
    assert {c.vocab_size for c in Grid(LAW, MODELS, 300).configs.values()} == {300}


def front(limits, points):
    """A Front that has looked at all of ``points``: (loss, latency, memory) each."""
    places = {(n,): SimpleNamespace(n=n, macs=n) for n in range(len(points))}

    def point(config):
        loss, latency, memory = points[config.n]
        found = {"latency": latency, "memory": memory}
        excess = {name: found[name] / most - 1 for name, most in limits.items()}
        return Point(None, None, loss, 0.1, 0, clock=1.0, excess=excess, **found)

    question = SimpleNamespace(point=point, limits=limits, board=BOARDS["icebreaker"])
    made = object.__new__(Front)
    made.question, made.grid, made.rng = question, None, None
    made.found = {place: point(config) for place, config in places.items()}
    return made


POINTS = [(3.0, 4.0, 900), (3.5, 1.0, 500), (3.6, 2.0, 400), (4.0, 0.5, 100)]


def test_nothing_beats_the_front():
    found = front({}, POINTS)
    assert [one.loss for one in found.pareto()] == [3.0, 3.5, 4.0]
    assert [one.loss for one in found.others()] == [3.6]
    found = front({"latency": 2.0, "memory": 450}, POINTS)
    assert [one.loss for one in found.pareto()] == [3.6, 4.0]


def test_what_cannot_be_met_is_named():
    found = front({"latency": 0.4, "memory": 500}, POINTS)
    assert not found.pareto()
    assert found.obstacles() == ([("latency", 0.5, pytest.approx(0.25))], True)
    found = front({"latency": 2.0, "memory": 300}, [*POINTS[:3], (4.0, 3.0, 200)])
    parts, alone = found.obstacles()
    assert not alone
    assert [name for name, *_ in parts] == ["latency", "memory"]


def test_a_board_gets_its_front(tmp_path):
    path, html, again = (tmp_path / name for name in ("found.json", "found.html", "again.json"))
    limits = ("--latency", 1.5, "--memory", 90000)
    result = run("codesign", *QUICK, *limits, "--json", path, "--html", html)
    assert result.exit_code == 0, result.stderr
    report = json.loads(path.read_text())
    assert report["looked_at"] == 12
    losses = [one["loss"] for one in report["front"]]
    latencies = [one["latency"] for one in report["front"]]
    assert losses == sorted(losses)
    assert latencies == sorted(latencies, reverse=True)
    assert max(latencies) <= 1.5
    assert max(one["memory"] for one in report["front"]) <= 90000
    config = ModelConfig(**report["front"][0]["model"])
    point = Question(BOARDS["icebreaker"], LAW, 0.0, {}).point(config)
    assert (point.loss, point.latency) == (losses[0], latencies[0])
    assert (point.loss, point.error) == (LAW.loss(config), LAW.error(config))
    assert check_fit(config, point.machine, BOARDS["icebreaker"])
    assert f"{math.exp(losses[0]):.2f}" in result.stdout
    assert len(drawings(html)) == 1
    assert run("codesign", *QUICK, *limits, "--json", again).exit_code == 0
    assert json.loads(again.read_text()) == report


def test_memory_is_that_of_weights_and_cache():
    config, machine = ModelConfig(8, 8, 2, 2, 1, 4, 11, 64), Config(weight_width=4, max_seq_len=32)
    parameters = 8 * 11 + 8 + 2 * (8 * (8 + 4 + 4 + 8) + 3 * 64 + 16)
    assert stored(config, machine) == parameters // 2 + 2 * 4 * 32 * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--board", "none"), "board must be one of"),
        ((*QUICK, "--latency", 0), "--latency must be more than 0, not 0"),
        ((*QUICK, "--tokenizer", "a"), "--tokenizer has no effect without --text"),
        ((*QUICK, "--latency", 0.001), "icebreaker meets the constraints: --latency 0.001 cannot"),
        ((*QUICK, "--memory", 9), "meets the constraints: --memory 9 cannot be met: the nearest"),
    ],
)
def test_bad_input(options, message):
    assert message in fails("codesign", *options)


def test_a_text_needs_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    message = fails("codesign", *QUICK, "--text", TEXT)
    assert message == "--text needs PyTorch, which is not here: pip install 'celosia[train]'"


def test_a_short_text_is_refused():
    pytest.importorskip("torch", reason="needs PyTorch: pip install celosia[train]")
    message = fails("codesign", *QUICK, "--text", TEXT)
    assert "the loss needs a text of at least 147,456 tokens" in message
    assert message.endswith("and has 4,345")


def test_a_text_shifts_the_law(monkeypatch, tmp_path):
    """By what one model, trained on it, loses more."""
    pytest.importorskip("torch", reason="needs PyTorch: pip install celosia[train]")
    from celosia.codesign import course

    for name, value in (("TOKENS", 256), ("HELD", 128), ("STEPS", 2)):
        monkeypatch.setattr(course, name, value)
    path = tmp_path / "found.json"
    result = run("codesign", *QUICK, "--text", TEXT, "--json", path)
    assert result.exit_code == 0, result.stderr
    report = json.loads(path.read_text())
    first = report["front"][0]
    shifted = LAW.loss(ModelConfig(**first["model"])) + report["level"]
    assert first["loss"] == pytest.approx(shifted)
    assert 1 < report["level"] < 3  # hardly trained
    assert report["text"] == str(TEXT)
