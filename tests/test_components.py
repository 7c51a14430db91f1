import json

import pytest
from celosia.generators.components import STANDARD, build, markdown, measure
from celosia.generators.synthesis import TARGETS, synthesise
from celosia.rtl.reciprocal import Reciprocal
from typer.testing import CliRunner

from celosia.cli import app

runner = CliRunner()


@pytest.mark.parametrize(
    "target",
    [pytest.param(t, marks=[pytest.mark.slow] if t == "xilinx" else []) for t in TARGETS],
)
def test_reciprocal_has_one_multiplier_everywhere(target):
    cost = synthesise(Reciprocal(16), target)
    assert cost["dsp"] == 1
    assert 20 < cost["lut"] < 600
    assert 60 < cost["ff"] < 250


@pytest.mark.parametrize("name", [*STANDARD])
def test_standard_components_build(name):
    component, parameters = build(name)
    assert parameters == STANDARD[name][1]
    assert component.signature.members


@pytest.mark.parametrize(
    ("name", "expected"),
    [("reciprocal", (5, 1.0)), ("scale", (3, 1.0)), ("mac_fabric", (7, 1.0)), ("rope", (4, 1.0))],
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


def test_command_writes_json_and_a_page(tmp_path):
    json_file, page = tmp_path / "c.json", tmp_path / "c.md"
    arguments = ["components", "reciprocal", "--set", "width=20", "--json", str(json_file)]
    result = runner.invoke(app, [*arguments, "--markdown", str(page)])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(json_file.read_text())
    assert [*row] == [
        *("name", "parameters", "lut", "ff", "dsp", "bram"),
        *("latency", "throughput", "fmax_mhz"),
    ]
    assert row["name"] == "reciprocal"
    assert row["parameters"] == {"width": 20}
    assert (row["dsp"], row["latency"], row["throughput"], row["fmax_mhz"]) == (1, 5, 1.0, None)
    assert "| reciprocal | width 20 |" in page.read_text()
    assert markdown(
        [row], "ecp5", "celosia components reciprocal --set width=20 --markdown c.md"
    ) == (page.read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["softmaxx"], "no component 'softmaxx'; there are block_quantize"),
        (["reciprocal", "--set", "size=3"], "reciprocal has the parameters width, not 'size'"),
        (["reciprocal", "--set", "width=0"], "width must be from 1 to 62, not 0"),
        (["reciprocal", "--set", "width"], "--set takes name=value, not 'width'"),
        (["--set", "width=3"], "--set needs the NAME of a unit"),
        (["reciprocal", "--target", "asic"], "target must be one of ecp5, ice40, gowin, xilinx"),
        (["reciprocal", "--target", "ice40", "--route"], "only ecp5 can be routed, not 'ice40'"),
    ],
)
def test_bad_input(arguments, message, capfd):
    result = runner.invoke(app, ["components", *arguments])
    assert result.exit_code == 2
    assert message in result.output + capfd.readouterr().err
