"""What the documents point at is there."""

import re
import runpy
from itertools import chain
from pathlib import Path

import pytest
from celosia.generators.components.standard import STANDARD

ROOT = Path(__file__).parents[1]
TOP = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")]
DOCUMENTS = [*TOP, *sorted((ROOT / "docs").glob("*.md"))]
# What docs/scripts/hook.py makes.
MADE = {"index.md", "command_line.md", "examples.md", "demo_model.md"}
MADE |= {f"{path.stem.lower()}.md" for path in TOP}
FOLDERS = "bench|boards|celosia|docs|examples|generators|protocol|reference|rtl|sim|tests"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document):
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(rf"\b(?:{FOLDERS})/[\w/]+\.(?:py|md|txt)\b", text))
    linked = set(re.findall(r"\]\((?!http|#)([^)#]+)", text))
    missing = {name for name in named if not (ROOT / name).exists()}
    missing |= {name for name in linked if not (document.parent / name).exists()}
    assert not missing


def test_every_page_has_its_place_on_the_site():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", text, re.MULTILINE)
    assert len(named) == len(set(named))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert set(named) | {"readme.md"} == pages | MADE


def test_the_first_page_is_what_commands_print():
    """`python docs/scripts/generated.py` makes it anew."""
    made = runpy.run_path(str(ROOT / "docs" / "scripts" / "generated.py"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(made["MARKED"].findall(text)) == 2
    assert made["filled"](text) == text
    page = (ROOT / "docs" / "breakdown.md").read_text(encoding="utf-8")
    assert made["BROKEN_DOWN"].search(page)
    assert made["broken_down"](page) == page
    assert made["machine_svg"]() == (ROOT / "docs" / "machine.svg").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages():
    return runpy.run_path(str(ROOT / "docs" / "scripts" / "pages.py"))


def test_a_units_page(pages):
    page = pages["unit_page"]("softmax")
    assert page.startswith("# Softmax\n\n`exp(unit * x) / sum(exp(unit * x))` of each vector")
    assert "- `words`: int, 1 to 4096  \n    The most in a vector." in page
    for line in ("| softmax | lanes 4,", "| softmax, n = 64, 8 bits |", "bench.run(Softmax("):
        assert line in page
    assert "Accuracy" not in pages["unit_page"]("transposer")


def test_every_command_is_on_the_page_of_commands(pages):
    page = pages["command_page"]()
    for name in ("generate", "simulate", "report", "boards"):
        assert f"## celosia {name}\n\n```text\nUsage: celosia {name} [OPTIONS]" in page


def test_what_modules_offer(pages):
    page = pages["api_page"]("protocol")
    assert "## celosia.protocol.refusals" in page
    assert ":class:" not in page


def test_every_unit_has_a_waveform_that_shows_a_result():
    made = runpy.run_path(str(ROOT / "docs" / "scripts" / "waveforms.py"))
    assert made["WAVEFORMS"].keys() == STANDARD.keys()
    for name, (_, inputs, _) in made["WAVEFORMS"].items():
        _, *drawn = made["waveform"](name)["signal"]
        streams = {group[0]: group[1:] for group in drawn if isinstance(group, list)}
        ports = [row for row in drawn if isinstance(row, dict)]
        outputs = [rows for key, rows in streams.items() if key not in inputs]
        assert outputs or any(row["name"] not in inputs for row in ports), name
        for valid, _, values in outputs:
            assert "1" in valid["wave"], name
            assert values["data"], name
        waves = "".join(row["wave"] for row in chain(ports, *streams.values()))
        assert set(waves) <= set("01x=."), name


def test_waveforms_of_concepts_are_those_of_units():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    found = re.findall(r"<!-- waveform: (\w+): ", "".join(texts))
    assert len(found) >= 6
    assert set(found) <= STANDARD.keys()


def test_waveforms_of_ports_are_those_of_the_simulation():
    made = runpy.run_path(str(ROOT / "docs" / "scripts" / "waveforms.py"))
    drawn = made["waveform"]("value_cache")["signal"]
    assert drawn[2:] == [
        {"name": "read_en", "wave": "0...10.."},
        {"name": "data", "wave": "=....=..", "data": ["0 0 0 0", "1 3 2 4"]},
        {"name": "written", "wave": "0...10.."},
    ]


def test_waveforms_are_those_of_the_simulation():
    made = runpy.run_path(str(ROOT / "docs" / "scripts" / "waveforms.py"))
    clock, weights, activations, results = made["waveform"]("weight_stationary")["signal"]
    assert clock["wave"] == "p" + "." * 13
    assert weights[0] == "weights"
    assert [row["wave"] for row in activations[1:]] == [
        "1...0.........",
        "0.1.0.........",
        "=..=x.........",
    ]
    assert results[1] == {"name": "valid", "wave": "0........1.0.."}
    assert results[3]["data"] == ["19 22", "43 50"]
