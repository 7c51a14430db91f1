"""``celosia report``: what the page says, and what no page is made of."""

import json
from dataclasses import asdict
from html.parser import HTMLParser

import pytest
from celosia.generators.config import load_config
from celosia.generators.files.report import machine_report
from celosia.generators.plan import make_plan
from celosia.reference.model import random_model
from command_line import fails, run

from celosia.manifest import write_manifest
from celosia.page.schemas import Event
from celosia.page.timeline import timeline

VERILOG = "module tape(clk);\n  reg [63:0] memory [99:0];\nendmodule\n"
RUN = {
    "model": "small",
    "prompt_tokens": [1, 2],
    "tokens": [3, 4, 5],
    "matches_reference": True,
    "logits_match": True,
    "cycles": [200, 300, 300, 400],
    "ideal_cycles": [150.0, 250.0, 250.0, 350.0],
    "utilisation": 0.85,
    "multipliers": 16,
    "overhead": {"edges": 50.0, "tape": 150, "control": 0},
    "saturated": {"residual": 0, "values": 7},
}
EVALUATION = {
    "tokens": 100,
    "float": {"perplexity": 3.0},
    "integer": {"perplexity": 3.3},
    "top1_agreement": 0.9,
    "kl": 0.01,
}
PASS = {"ph": "X", "pid": 0, "tid": 0, "ts": 100, "dur": 50, "name": "position 1"}
TRACE = {
    "traceEvents": [
        *(
            {"name": "thread_name", "ph": "M", "pid": 0, "tid": n, "args": {"name": name}}
            for n, name in enumerate(("passes", "fabric", "rope"))
        ),
        PASS | {"ts": 0, "name": "position 0"},
        PASS,
        PASS | {"tid": 1, "ts": 90, "dur": 30, "name": "linear"},
        PASS | {"tid": 1, "ts": 120, "dur": 30, "name": "tape"},
        PASS | {"tid": 2, "ts": 0, "dur": 10, "name": "rope"},
    ]
}


@pytest.fixture
def folder(tmp_path, tiny_config):
    """What generate leaves, but for the Verilog's length."""
    model = random_model(tiny_config(), seed=2)
    model.name = "small"
    plan = make_plan(model, load_config("tiny", ["weight_parallelism=16"]))
    path = tmp_path / "machine"
    path.mkdir()
    (path / "top.v").write_text(VERILOG)
    report = machine_report(plan, VERILOG)
    (path / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    write_manifest(path, "celosia generate")
    return path


def written(path, value):
    path.write_text(json.dumps(value))
    return path


class Reader(HTMLParser):
    """The page's text, and whatever it would load."""

    def __init__(self, text):
        super().__init__()
        self.text, self.loads, self.open = "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        names = ("src", "href", "data", "xlink:href")
        self.loads += [value for name, value in attributes if name in names]
        self.loads += [tag] if tag in ("script", "link", "iframe", "object", "img") else []

    def handle_data(self, data):
        self.text += data


def test_everything_on_one_page(tmp_path, folder):
    config = json.loads((folder / "report.json").read_text())["config"]
    files = [
        written(tmp_path / "run.json", RUN | {"config": config}),
        written(tmp_path / "losses.json", EVALUATION),
        written(tmp_path / "trace.json", TRACE),
    ]
    page = tmp_path / "page.html"
    assert run("report", folder, *files, "--html", page).exit_code == 0
    found = Reader(page.read_text(encoding="utf-8"))
    assert found.loads == []
    digest = json.loads((folder / "manifest.json").read_text())["files"]["top.v"]
    command = f"--config tiny --set weight_parallelism=16 --set max_seq_len={config['max_seq_len']}"
    for text in (
        *("MAC fabric", "head quantize", "sampler", "8 x 2"),
        *(["tape", "150", "12.5 %"]),
        *("Every token and logit equals", "7 values", "Timeline: position 1", "50 cycles"),
        *("layers.1.w_down", "6,400 bits", "3.3000", "90.00%", digest, "Unchanged since"),
        f"celosia generate small {command} -o DIR",
        f"celosia simulate small {command} --prompt-tokens 1,2 --tokens 3",
    ):
        assert text in found.text, text
    first = page.read_bytes()
    run("report", folder, *files, "--html", page)
    assert page.read_bytes() == first


def test_a_machine_without_routes_has_no_picture(tmp_path, folder):
    report = json.loads((folder / "report.json").read_text())
    path = written(tmp_path / "old.json", {k: v for k, v in report.items() if k != "routes"})
    run("report", path, "--html", tmp_path / "page.html")
    assert "MAC fabric" not in (tmp_path / "page.html").read_text()


def test_a_build(tmp_path):
    build = {"board": "ulx3s_85f", "model": "small", "config": asdict(load_config("tiny"))}
    build |= {"clock_mhz": 80.0, "fmax_mhz": 85.25, "lut": {"used": 100, "available": 400}}
    build |= {"position": 100, "cycles_per_token": 4000, "tokens_per_second": 20000.0}
    build |= {"multipliers": 8, "utilisation": 0.6, "notes": ["a <note>"]}
    path = written(tmp_path / "build.json", build)
    assert run("report", path, "--html", tmp_path / "page.html").exit_code == 0
    text = Reader((tmp_path / "page.html").read_text()).text
    for part in ("85.25 MHz", "20,000 tokens/s", "100 of 400", "25.0 %", "a <note>"):
        assert part in text, part


def test_a_difference_and_a_change_are_said(tmp_path, folder):
    (folder / "top.v").write_text("changed")
    path = written(tmp_path / "run.json", RUN | {"config": {}, "logits_match": False})
    run("report", folder, path, "--html", tmp_path / "page.html")
    text = Reader((tmp_path / "page.html").read_text()).text
    assert "Machine and integer reference differ" in text
    assert "top.v, which was changed since celosia generate wrote it" in text


def test_hostile_names_stay_text(tmp_path):
    name = "<script>alert(1)</script>\x1b[31m\u202e"
    path = written(tmp_path / "run.json", RUN | {"config": {}, "model": name})
    run("report", path, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert Reader(page).loads == []
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_numbers_that_are_none(tmp_path):
    """JSON has no NaN, Python's reader takes it; a page is made all the same."""
    odd = {"config": {}, "cycles": [float("nan"), 1e308, 1e308], "overhead": {"tape": float("inf")}}
    path = written(tmp_path / "run.json", RUN | odd)
    assert run("report", path, "--html", tmp_path / "page.html").exit_code == 0
    huge = written(tmp_path / "huge.json", RUN | {"config": {}, "multipliers": 10**400})
    message = fails("report", huge, "--html", tmp_path / "other.html")
    assert "huge.json: multipliers:" in message
    huge = written(tmp_path / "huge.json", RUN | {"config": {}, "utilisation": 10**400})
    assert "huge.json: " in fails("report", huge, "--html", tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


def test_what_is_no_result(tmp_path, folder):
    page = tmp_path / "page.html"

    def message(*paths):
        text = fails("report", *paths, "--html", page)
        assert not page.exists()
        return text

    assert "there: No such file" in message(tmp_path / "there")
    assert "no folder that celosia generate or build made: no manifest" in message(tmp_path)
    other = written(tmp_path / "other.json", {"colour": "red"})
    assert "other.json: not what generate, build, simulate --json" in message(other)
    (tmp_path / "text.json").write_text("no JSON")
    assert "text.json: no JSON" in message(tmp_path / "text.json")
    broken = written(tmp_path / "broken.json", RUN | {"config": {}, "cycles": "many"})
    assert "cycles: 'many' is of the wrong type" in message(broken)
    one = written(tmp_path / "run.json", RUN | {"config": {}, "model": "large"})
    assert "a simulation is there already, from" in message(one, one)
    assert "results of different models make no page" in message(folder, one)
    write_manifest(folder, "celosia build", unfinished=True)
    assert "celosia build did not finish: run it again" in message(folder)


def test_a_result_is_not_written_over(tmp_path, folder):
    before = (folder / "report.json").read_bytes()
    message = fails("report", folder, "--html", folder / "report.json")
    assert "is a file that this command reads" in message
    assert (folder / "report.json").read_bytes() == before


def test_timeline_shows_the_last_pass():
    events = [Event(**{k: v for k, v in e.items() if k != "pid"}) for e in TRACE["traceEvents"]]
    found = timeline(events)
    assert (found["title"], found["cycles"]) == ("position 1", 50)
    ((name, slices),) = found["rows"]  # of rope nothing lies in the last pass
    assert name == "fabric"
    assert [(start, width, text) for _, start, width, text in slices] == [
        (0, 800, "linear"),
        (800, 1200, "tape"),
    ]
    assert timeline([]) is None


def test_near_slices_are_joined():
    slices = [Event("x", "X", 2, start, 0.3) for start in (100, 101, 130)]
    names = [Event("thread_name", "M", 2, args={"name": "rope"})]
    found = timeline([Event("position 0", "X", 0, 0, 10_000), *names, *slices])
    assert [(start, width) for _, start, width, _ in found["rows"][0][1]] == [
        (20, pytest.approx(0.5)),
        (26, pytest.approx(0.5)),
    ]
