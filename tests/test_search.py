"""``celosia search``: what it finds, what it refuses, and studies that several processes share."""

import json
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
from celosia.boards.catalog import BOARDS
from celosia.boards.ecp5 import Ecp5Flow
from celosia.boards.estimate import check_fit
from celosia.boards.full_estimate import needs
from celosia.generators.config import ConfigError, load_config
from celosia.generators.estimate.report import estimate_report
from celosia.generators.machine_sizes import sampler_lanes
from celosia.generators.plan import make_plan
from celosia.reference.checkpoint import load
from celosia.reference.model import random_model
from celosia.sim.toolchain import ToolError
from command_line import fails, run
from small_checkpoint import CONFIG, write_checkpoint

from celosia.search import confirm
from celosia.search.figures import parse_constraint
from celosia.search.loss import Loss
from celosia.search.result import result_of
from celosia.search.space import Space

BOARD = ("--board", "ulx3s_12f")
ROOMY = ("--board", "kcu105")  # of few trials some fit, whoever makes them
START = "import sys; from celosia.cli import main; sys.argv[0] = 'celosia'; main()"


class Letters:
    """A tokenizer of letters."""

    bos = 1

    def encode(self, text, bos=True):
        return [ord(letter) % CONFIG.vocab_size for letter in text]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model"))


def command(*arguments):
    """A process of ``celosia search``."""
    words = [sys.executable, "-c", START, "search", *map(str, arguments)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def test_what_is_found_is_a_machine_that_fits(tmp_path, small):
    paths = {name: tmp_path / f"found.{name}" for name in ("json", "html", "toml")}
    outputs = ("--json", paths["json"], "--html", paths["html"], "--write", paths["toml"])
    wishes = ("--constraint", "lut<95%", "--objective", "tokens_per_second,lut", "--trials", 60)
    result = run("search", small, *BOARD, *wishes, *outputs)
    assert result.exit_code == 0
    report = json.loads(paths["json"].read_text())
    assert report["trials"] == 60
    model, board = load(small, None), BOARDS["ulx3s_12f"]
    speeds = [one["figures"]["tokens_per_second"] for one in report["pareto"]]
    luts = [one["figures"]["lut"] for one in report["pareto"]]
    assert speeds == sorted(speeds, reverse=True)
    assert luts == sorted(luts, reverse=True)  # else one would beat the other
    config = load_config(paths["toml"])
    assert report["chosen"] == report["pareto"][0]
    assert check_fit(model.config, config, board).lut == luts[0] < 0.95 * board.resources["lut"]
    predicted = estimate_report(model, config, 1, 1, board, None, {"start": report["position"]})
    assert predicted["tokens_per_second"] == speeds[0]
    assert report["errors"]["tokens_per_second"] == "2%"
    page = paths["html"].read_text()
    assert page.count("<circle") >= len(speeds)
    assert f"trial {report['chosen']['trial']}" in page
    again = tmp_path / "again.json"
    assert run("search", small, *BOARD, *wishes, "--json", again).exit_code == 0
    assert json.loads(again.read_text())["pareto"] == report["pareto"]


def test_a_machine_of_the_smallest_board(tmp_path, small):
    path = tmp_path / "found.toml"
    wishes = ("--position", 5, "--objective", "window,positions,bram", "--trials", 41)
    assert run("search", small, "--board", "icebreaker", *wishes, "--write", path).exit_code == 0
    values = tomllib.loads(path.read_text())
    assert values["machine"] == "compact"
    assert load_config(path).window > 4


@pytest.mark.parametrize(
    ("lanes", "settings"),
    [
        (1, "weight_parallelism=64 vector_lanes=4"),  # 16 rows, 16 beats
        (2, "weight_parallelism=128 vector_lanes=4"),
        (4, "weight_parallelism=256 vector_lanes=4"),
        (2, "weight_parallelism=256 vector_lanes=4 weight_width=4 packing=18x18 head_width=8"),
        (2, "weight_parallelism=256 vector_lanes=4 weight_width=4 group_size=32 head_width=8"),
    ],
)
def test_sampler_as_narrow_as_tiles_allow(lanes, settings):
    assert sampler_lanes(load_config("small", settings.split()), 64) == lanes


def test_only_what_is_weighed_is_open():
    model, board = random_model(CONFIG), BOARDS["ulx3s_85f"]
    shapes = {"vector_lanes", "weight_parallelism", "memory", "max_seq_len"}
    shapes |= {"packing", "softmax_lanes"}
    assert Space(board, model, [], {"chip", "cycles"}).choices.keys() == shapes
    space = Space(board, model, ["memory=sdram"], {"prompt", "loss"})
    widths = {"weight_width", "group_size", "head_width", "token_parallelism"}
    widths |= {"key_width", "value_width", "value_steps", "key_mean"}
    assert space.choices.keys() == shapes - {"memory"} | widths
    values = {"vector_lanes": 4, "weight_parallelism": 60, "weight_width": 4, "max_seq_len": 24}
    config = space.config(values | {"group_size": 32, "head_width": 2})
    assert (config.weight_parallelism, config.head_width, config.memory) == (48, 8, "sdram")
    narrow = {"group_size": 0, "head_width": 2, "value_width": 4, "value_steps": "channel"}
    config = space.config(values | narrow)
    assert (config.head_width, config.value_steps) == (0, "token")
    config = space.config(values | {"packing": "18x18", "weight_width": 5, "softmax_lanes": 1})
    assert (config.packing, config.softmax_lanes, config.lut_multipliers) == ("none", 4, 0)
    space.blocks = 60
    config = space.config(values | {"packing": "18x18"})
    assert (config.weight_parallelism, config.packing, config.lut_multipliers) == (32, "18x18", 0)
    assert space.config(values | {"weight_parallelism": 64}).lut_multipliers == 64 + 24 - 60
    assert config.sampler_lanes == sampler_lanes(config, CONFIG.dim)
    assert config.gate_lanes == 2
    assert (
        needs(model.config, config)["dsp"]
        < needs(model.config, replace(config, gate_lanes=0))["dsp"]
    )
    assert space.config(values | {"token_parallelism": 2}).gate_lanes == 0
    compact = Space(BOARDS["icebreaker"], model, [], {"loss"})
    assert compact.choices.keys() == {"max_seq_len", "window"}


def test_losses_are_measured_once(monkeypatch, tmp_path):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    model = random_model(CONFIG, seed=3)
    model.tokenizer = Letters()
    config = load_config("small", ["weight_width=4", "weight_parallelism=32", "vector_lanes=4"])
    loss = Loss(model, "abcdefgh" * 40, 300)
    found = loss.perplexity(config)
    assert loss.tokens == 300
    assert 0.5 < found / loss.floating < 2
    assert found != loss.floating
    assert loss.measured(make_plan(model, config).model) == found
    monkeypatch.setattr(Loss, "_measure", None)
    again = Loss(model, "abcdefgh" * 40, 300)
    assert (again.perplexity(config), again.floating) == (found, loss.floating)
    with pytest.raises(ConfigError, match="a text of at least 256 tokens, and has 80"):
        Loss(model, "abcdefgh" * 10, 300)


@pytest.mark.parametrize(
    ("text", "value", "whole", "met"),
    [
        ("lut<80%", 79, 100, True),
        ("lut < 80%", 80, 100, False),
        ("lut<=80%", 80, 100, True),
        ("perplexity<1.05x", 4.1, 4.0, True),
        ("tokens_per_second>=1e3", 999.0, None, False),
    ],
)
def test_constraints(text, value, whole, met):
    assert (parse_constraint(text).excess(value, whole) <= 0) is met


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--board", "none"), "board must be one of"),
        ((*BOARD, "--objective", "beauty"), "--objective must be of tokens_per_second, "),
        ((*BOARD, "--objective", "lut,lut"), "--objective names lut twice"),
        ((*BOARD, "--objective", "perplexity"), "perplexity needs a --text"),
        ((*BOARD, "--constraint", "lut"), "--constraint takes a figure, < or >, a number"),
        ((*BOARD, "--constraint", "beauty<1"), "--constraint must be of tokens_per_second"),
        ((*BOARD, "--constraint", "lut<2x"), "lut is a number, or % of the board's, not x"),
        ((*BOARD, "--max-tokens", 9), "--max-tokens has no effect without --text"),
        ((*BOARD, "--choose", 9), "--choose has no effect without --write or --confirm"),
        ((*BOARD, "--dask", "tcp://x"), "--dask needs a --study that all workers reach"),
        ((*BOARD, "--clock", 9999), "--clock: "),
        ((*BOARD, "--set", "memory=axi"), "ulx3s_12f has no AXI memory"),
        ((*BOARD, "--set", "nothing=1"), "--set takes name=value"),
        ((*BOARD, "--study", "no/such/folder/x"), "no/such/folder: No such file"),
        ((*BOARD, "--study", "/dev/null"), "/dev/null: "),
        ((*BOARD, "--study", "nosuchdatabase://x"), "--study nosuchdatabase://x: "),
        ((*BOARD, "--position", 500, "--trials", 3), "--position must be at most 23, not 500"),
        (
            (*BOARD, "--position", 5, "--constraint", "lut<1%", "--trials", 20),
            "meets all constraints: lut<1% cannot be met: the nearest machine has ",
        ),
        (
            (*BOARD, "--position", 5, "--write", "x.toml", "--choose", 99, "--trials", 20),
            "--choose must be a trial of the Pareto set (",
        ),
    ],
)
def test_bad_input(monkeypatch, tmp_path, small, options, message):
    monkeypatch.chdir(tmp_path)
    assert message in fails("search", small, *options)
    assert not list(tmp_path.iterdir())


def study_of(found):
    """A study with the figures, and the excess over two constraints, of its trials."""
    study = optuna.create_study(directions=["minimize"])
    for figures, excess in found:
        trial = study.ask()
        trial.set_user_attr("figures", figures)
        trial.set_user_attr("config", figures)
        for name, value in zip(("lut<60", "dsp>20"), excess, strict=True):
            trial.set_constraint(name, value)
        study.tell(trial, [1.0])
    return study


def test_of_equals_the_better_one_in_other_figures_comes_first():
    found = [({"lut": lut, "dsp": dsp}, (0, 0)) for lut, dsp in ((9, 7), (9, 5), (8, 9), (9, 6))]
    result = result_of(study_of(found), ("dsp",))
    assert [one.trial for one in result.pareto] == [1]
    result = result_of(study_of(found), ("lut",))
    assert [one.trial for one in (*result.pareto, *result.others)] == [2, 1, 3, 0]


def test_constraints_that_clash_are_named():
    found = [({"lut": 90, "dsp": 30}, (0.5, -0.5)), ({"lut": 40, "dsp": 10}, (-0.5, 0.25))]
    assert result_of(study_of(found), ("lut",)).obstacles == [
        "dsp>20, within reach alone, is not with the others: the nearest machine has 10, "
        "25.0% beyond"
    ]


def test_the_chosen_one_is_confirmed(monkeypatch, tmp_path, small):
    """By the board's flow, of which nothing runs here."""
    counted = {"lut": 20_000, "ff": 9, "dsp": 22, "bram": 30}
    built = {name: {"used": n, "available": 99} for name, n in counted.items()}
    built |= {"fmax_mhz": 40.0, "clock_mhz": 80.0}
    monkeypatch.setattr(Ecp5Flow, "check_tools", lambda flow: None)
    monkeypatch.setattr(Ecp5Flow, "count", lambda flow, folder, say: counted)
    monkeypatch.setattr(confirm.flow, "write_design", lambda *arguments: None)
    monkeypatch.setattr(confirm.flow, "build", lambda *arguments, **options: built)
    measured = SimpleNamespace(result=lambda: {"cycles_per_token": 1000})
    monkeypatch.setattr(confirm, "Measurement", lambda plan, folder, position: measured)
    found = []
    for how in ("synthesis", "route"):
        path = tmp_path / f"{how}.json"
        options = ("--position", 5, "--trials", 20, "--confirm", how, "--json", path)
        result = run("search", small, *BOARD, *options)
        assert result.exit_code == 0
        report = json.loads(path.read_text())
        figures = {name: one["measured"] for name, one in report["confirmed"].items()}
        found.append(figures)
        lut = report["confirmed"]["lut"]
        assert lut["predicted"] == report["chosen"]["figures"]["lut"]
        assert lut["error"] == lut["predicted"] / 20_000 - 1
        assert f"lut: 20,000, predicted {lut['predicted']:,} ({lut['error']:+.2%})" in result.stdout
    speed = {"cycles_per_token": 1000, "tokens_per_second": 80e3}
    assert found[0] == counted | speed
    assert found[1] == counted | speed | {"fmax_mhz": 40.0, "tokens_per_second": 40e3}


def test_the_chosen_one_is_simulated(monkeypatch, tmp_path, small):
    monkeypatch.setenv("CELOSIA_OPTIMISE", "-O0")
    path = tmp_path / "found.json"
    fixed = ("weight_parallelism=16", "vector_lanes=4", "packing=none", "softmax_lanes=0")
    settings = [word for setting in fixed for word in ("--set", setting)]
    options = ("--trials", 2, "--position", 2, "--confirm", "cycles", "--json", path)
    assert run("search", small, "--board", "ulx3s_85f", *settings, *options).exit_code == 0
    report = json.loads(path.read_text())
    found = report["confirmed"]
    cycles, speed = found["cycles_per_token"], found["tokens_per_second"]
    assert abs(cycles["error"]) <= 0.02
    assert speed["measured"] == 80e6 / cycles["measured"]
    assert speed["predicted"] == report["chosen"]["figures"]["tokens_per_second"]
    assert found.keys() == {"cycles_per_token", "tokens_per_second"}


def test_a_missing_tool_is_named_before_the_search(monkeypatch, tmp_path, small):
    def missing(*arguments):
        raise ToolError("no C++ compiler")

    monkeypatch.setattr(confirm.toolchain, "find", missing)
    monkeypatch.setattr("celosia.search.command._run", None)
    said = fails("search", small, *BOARD, "--confirm", "cycles")
    assert "no C++ compiler" in said


def test_two_processes_work_on_one_study_and_a_killed_one_loses_its_trial(tmp_path, small):
    study = tmp_path / "study.journal"
    options = (small, *ROOMY, "--position", 5, "--study", study, "--trials")
    victim = command(*options, 10_000)
    while not study.exists() or study.read_text().count('"figures"') < 2:
        time.sleep(0.05)
        assert victim.poll() is None
    victim.kill()
    victim.communicate()
    both = [command(*options, 60) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
    trials = json.loads(study_json(tmp_path, options))["trials"]
    assert 60 <= trials <= 61
    message = fails("search", *options, 60, "--set", "max_seq_len=12")
    assert "is of another question: its settings is [], not ['max_seq_len=12']" in message


def study_json(tmp_path, options):
    path = tmp_path / "study.json"
    assert "has its 60 trials already" in run("search", *options, 60, "--json", path).stderr
    return path.read_text()


@pytest.mark.slow  # real processes, which a busy machine makes wait
def test_an_interrupted_search_says_how_to_go_on(tmp_path, small):
    study = tmp_path / "study.db"
    url = f"sqlite:///{study}"
    options = (small, *BOARD, "--position", 5, "--study", url, "--trials", 10_000)
    process = command(*options)
    while not study.exists():
        time.sleep(0.05)
        assert process.poll() is None
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"stopped: the same command goes on with {url}" in said


@pytest.mark.slow  # real processes, which a busy machine makes wait
def test_worker_processes(tmp_path, small):
    path = tmp_path / "found.json"
    options = ("--position", 5, "--trials", 20, "--jobs", 2, "--json", path)
    assert run("search", small, *ROOMY, *options).exit_code == 0
    assert 20 <= json.loads(path.read_text())["trials"] <= 21


def test_a_dask_cluster_of_two_processes(tmp_path, small):
    distributed = pytest.importorskip("distributed", reason="Dask is not here: celosia[dask]")
    path = tmp_path / "found.json"
    where = ("--position", 5, "--study", tmp_path / "study.journal", "--json", path)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = ("--dask", cluster.scheduler_address)
        assert run("search", small, *ROOMY, *where, *address, "--trials", 16).exit_code == 0
    assert 16 <= json.loads(path.read_text())["trials"] <= 24


def test_what_is_missing_is_named_with_what_brings_it(monkeypatch, tmp_path, small):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "pip install 'celosia[search]'" in fails("search", small, *BOARD)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "distributed", None)
    options = ("--dask", "tcp://127.0.0.1:1", "--study", tmp_path / "study")
    assert "pip install 'celosia[dask]'" in fails("search", small, *BOARD, *options)
