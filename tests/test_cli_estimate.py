"""``celosia estimate``: figures without a simulation, each with its known error."""

import json
from pathlib import Path

import pytest
from celosia.boards.catalog import BOARDS
from command_line import SVG, drawings, fails, run
from small_checkpoint import write_checkpoint

from celosia import estimate


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model"))


def test_it_says_what_a_machine_will_do_and_take(tmp_path, small):
    path = tmp_path / "estimate.json"
    options = ("--config", "tiny", "--prompt-length", 3, "--tokens", 4, "--board", "ulx3s_85f")
    result = run("estimate", small, *options, "--json", path)
    assert result.exit_code == 0
    assert "cycles of the last token" in result.output
    report = json.loads(path.read_text())
    assert len(report["cycles"]) == len(report["ideal_cycles"]) == 6
    assert report["prefill_cycles"] == sum(report["cycles"][:3])
    total = sum(report["ideal_cycles"]) + sum(report["overhead"].values())
    assert total == pytest.approx(sum(report["cycles"]))
    assert report["clock_mhz"] == 80
    speed = 80e6 * 4 / sum(report["cycles"][2:])
    assert report["tokens_per_second"] == pytest.approx(speed)
    assert 0 < report["weights_per_byte"] <= 1  # of 8 bits
    assert report["dsp"] == 8 + 7 * 2
    assert report["missing"] == {}
    assert report["errors"].keys() >= {"cycles", "tokens_per_second", "lut", "dsp", "bram"}
    assert "as routed machines" in result.output
    assert report["routed_mhz"] == [87.0]


def test_the_clock_to_expect_is_that_of_routed_machines():
    """What boards say of their families is what was routed."""
    found = {}
    for path in sorted((Path(__file__).parents[1] / "bench/boards").glob("*.json")):
        run = json.loads(path.read_text())
        if reached := run.get("fmax_mhz"):
            key = type(BOARDS[run["board"]].flow), run["config"].get("machine", "full")
            found.setdefault(key, []).append(round(reached, 1))
    known = {
        (type(board.flow), machine): list(clocks)
        for board in BOARDS.values()
        for machine, clocks in board.flow.routed.items()
    }
    assert known == {key: sorted(clocks) for key, clocks in found.items()}
    assert estimate._clock([30.0, 10.0, 40.0]) == ("30", "10 to 40, of 3")
    assert estimate._clock([]) == ("unknown", "none routed")


def test_a_board_has_by_default_what_fits(tmp_path, small):
    path = tmp_path / "estimate.json"
    assert (
        run("estimate", small, "--board", "ulx3s_12f", "--tokens", 4, "--json", path).exit_code == 0
    )
    report = json.loads(path.read_text())
    assert report["config"]["name"] == "fit"
    assert report["missing"] == {}


def test_memory_outside(tmp_path, small):
    cycles = []
    for latency in (20, 200):
        path = tmp_path / f"{latency}.json"
        options = ("--config", "tiny", "--set", "memory=axi", "--latency", latency)
        assert run("estimate", small, *options, "--tokens", 2, "--json", path).exit_code == 0
        report = json.loads(path.read_text())
        assert report["lut"] is None
        cycles.append(sum(report["cycles"]))
    assert cycles[1] - cycles[0] >= 2 * 180


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--board", "none"), "board must be one of"),
        (("--clock", 0), "--clock must be more than 0, not 0"),
        (("--latency", 9), "neither memory nor kv_memory is axi"),
        (("--prompt-length", 5000), "positions, more than max_seq_len"),
        (("--layers", 99), "layers must be from 1 to"),
        (
            ("--config", "compact", "--set", "max_seq_len=24", "--tokens", 500),
            "positions, more than max_seq_len",
        ),
    ],
)
def test_bad_input(small, options, message):
    assert message in fails("estimate", small, *options)


def test_a_page_with_pictures(tmp_path, small):
    path = tmp_path / "estimate.html"
    options = ("--config", "tiny", "--prompt-length", 3, "--tokens", 4, "--html", path)
    assert run("estimate", small, *options).exit_code == 0
    causes, positions = drawings(path)
    assert "ideal" in causes.itertext()
    lines = positions.findall(f"{SVG}polyline")
    assert [len(line.get("points").split()) for line in lines] == [6, 6]
    assert "tokens per second at 100 MHz" in path.read_text()
