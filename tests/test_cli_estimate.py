"""``celosia estimate``: figures without a simulation, each with its known error."""

import json

import pytest
from command_line import SVG, drawings, fails, run
from small_checkpoint import write_checkpoint


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
