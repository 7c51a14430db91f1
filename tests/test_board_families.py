"""Boards beside the ULX3S: their clocks, their designs, and the flows of their families."""

import json
import stat
from dataclasses import dataclass, replace

import pytest
from amaranth.lib.wiring import Out
from celosia.boards import build as flow
from celosia.boards.amd import ArtyA7
from celosia.boards.catalog import BOARDS
from celosia.boards.ecpix5 import Ecpix5
from celosia.boards.estimate import estimate
from celosia.boards.gowin import plan_gowin_pll
from celosia.boards.orangecrab import OrangeCrab
from celosia.boards.ulx3s import Ulx3s
from celosia.boards.xilinx import plan_mmcm
from celosia.generators.config import Config
from celosia.protocol.messages import Info
from celosia.reference.model import ModelConfig
from celosia.sim.toolchain import ToolError
from celosia.sim.tools import tool
from echo_machine import INFO, EchoMachine

SMALL = ModelConfig(
    dim=16, hidden_dim=24, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, vocab_size=37,
    seq_len=24, tied=True,
)  # fmt: skip


class Echo(EchoMachine):
    """As far as a board is concerned, a machine."""

    activity: Out(5)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        *((Ulx3s, "12f, 25f, 45f, 85f"), (Ecpix5, "45f, 85f"), (OrangeCrab, "25f, 85f")),
        (ArtyA7, "35, 100"),
    ],
)
def test_unknown_sizes(kind, sizes):
    with pytest.raises(ValueError, match=f"size must be one of {sizes}, not '85g'"):
        kind("85g")


@pytest.mark.parametrize("megahertz", [12, 24, 27, 39, 48, 60, 81, 100])
def test_gowin_loop_keeps_to_its_ranges(megahertz):
    pll = plan_gowin_pll("GW2A-18C", 27e6, megahertz * 1e6, (500e6, 1250e6))
    assert 0.98 * megahertz * 1e6 <= pll.frequency <= megahertz * 1e6
    assert 500e6 <= pll.frequency * pll.output <= 1250e6
    assert 27e6 / pll.divide >= 3e6
    assert max(pll.multiply, pll.divide) <= 64


@pytest.mark.parametrize("megahertz", [40, 50, 60, 75, 80, 90, 100, 125, 150])
def test_mmcm_keeps_to_its_ranges(megahertz):
    for source in (100e6, 125e6):
        pll = plan_mmcm("MMCME2_BASE", source, megahertz * 1e6)
        assert 0.98 * megahertz * 1e6 <= pll.frequency <= megahertz * 1e6
        assert 600e6 <= source * pll.multiply <= 1200e6


def test_clocks_that_cannot_be_made():
    with pytest.raises(ValueError, match="no clock of 1 MHz can be made of 27 MHz"):
        plan_gowin_pll("GW2A-18C", 27e6, 1e6, (500e6, 1250e6))
    with pytest.raises(ValueError, match="no clock of 1 MHz can be made of 100 MHz"):
        plan_mmcm("MMCME2_BASE", 100e6, 1e6)


@pytest.mark.parametrize(
    ("name", "loop", "pins"),
    [
        ("ecpix5_45f", "EHXPLLL", ['"clk100_0__io" SITE "K23"', '"uart_0__tx__io" SITE "R24"']),
        ("orangecrab_25f", "EHXPLLL", ['"clk_0__io" SITE "A9"', '"uart_0__tx__io" SITE "M18"']),
        ("colorlight_i5", "EHXPLLL", ['"clk25_0__io" SITE "P3"', '"uart_0__tx__io" SITE "J17"']),
        ("icesugar_pro", "EHXPLLL", ['"clk25_0__io" SITE "P6"', '"uart_0__tx__io" SITE "B9"']),
        ("tang_nano_9k", "rPLL", ['"clk27_0__io" 52;', '"uart_0__tx__io" 17;']),
        ("tang_nano_20k", "rPLL", ['"clk27_0__io" 4;', '"uart_0__tx__io" 69;']),
        ("tang_primer_20k", "rPLL", ['"clk27_0__io" H11;', '"uart_0__tx__io" M11;']),
        ("arty_a7_35", "MMCME2_BASE", ['E3 [get_ports "clk100_0', 'D10 [get_ports "uart_0__tx']),
        ("arty_a7_100", "MMCME2_BASE", ['E3 [get_ports "clk100_0', 'D10 [get_ports "uart_0__tx']),
        ("kcu105", "MMCME3_BASE", ['G10 [get_ports "clk125_0__p', 'K26 [get_ports "uart_0__tx']),
    ],
)
def test_the_design_of_a_board(tmp_path, name, loop, pins):
    board = BOARDS[name]
    flow.write_design(board, Echo(), board.default_clock, 1_000_000, tmp_path)
    design, constraints = ((tmp_path / name).read_text() for name in board.flow.files[:2])
    assert loop in design
    for pin in pins:
        assert pin in constraints
    assert "Automatically generated" not in design + constraints


def test_rates_of_the_serial_lines():
    """3 Mbaud where the bridge carries it and the clock makes it."""
    rates = {name: flow.line_rate(board, board.default_clock) for name, board in BOARDS.items()}
    fast = {name for name, rate in rates.items() if rate == 3_000_000}
    assert fast == {
        *(f"ulx3s_{size}" for size in ("12f", "25f", "45f", "85f")),
        *("ecpix5_45f", "ecpix5_85f", "arty_a7_35", "arty_a7_100", "icebreaker"),
    }
    assert {*rates.values()} == {3_000_000, 1_000_000}
    assert flow.line_rate(BOARDS["icebreaker"], 24) == 3_000_000  # 8 cycles a bit, not 7
    assert flow.line_rate(BOARDS["ulx3s_85f"], 40) == 1_000_000  # 13 cycles would be 2.6 % off


def test_what_the_other_boards_have():
    config = Config(weight_parallelism=32, vector_lanes=4)
    shares = {name: estimate(SMALL, config, board.flow.lut_share) for name, board in BOARDS.items()}
    assert shares["arty_a7_100"].lut < shares["ecpix5_85f"].lut
    for board in BOARDS.values():
        assert {"lut", "ff", "dsp", "bram"} <= board.resources.keys()
        assert board.clock(board.default_clock) <= board.default_clock * 1e6
        assert board.loader
        assert board.memories[0] == "on_chip"


CELLS = ("LUT4", "DFF", "MULT18X18", "BSRAM", "ALU", "RAM16SDP4")
FAKE = """#!/bin/sh
if [ "$1" = --version ]; then echo "{name} 0.99"; exit; fi
echo "{name} $*" >> {folder}/calls
case {name} in
yosys)
  if [ -e synthesis.ys ]; then cp {folder}/netlist.json top.json; fi
  if [ -e count.ys ]; then cp {folder}/count.json .; fi ;;
nextpnr-himbaechel-gowin) echo '{{}}' > route1.pnr.json; cp {folder}/report.json route1.json ;;
gowin_pack) echo bits > top.fs ;;
vivado) echo bits > top.bit; cp {folder}/timing.rpt top_timing.rpt ;;
esac
"""
TIMING = """| Design Timing Summary
| ---------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints
    -------      -------  ---------------------
     {slack}       -0.5                      1
"""


@dataclass(frozen=True)
class EchoPlan:
    """As far as a build is concerned, a plan."""

    info: Info = INFO

    def machine(self):
        return Echo()

    def on_board(self, frequency):
        return replace(self, info=replace(self.info, frequency=frequency))


@pytest.fixture
def fake_tools(tmp_path, monkeypatch):
    """Tools on the PATH that only note their calls; the folder of what they answer."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("yosys", "nextpnr-himbaechel-gowin", "gowin_pack"):
        add_tool(folder, name)
    (folder / "report.json").write_text(
        json.dumps(
            {
                "fmax": {
                    "clk27": {"achieved": 300.0, "constraint": 48.0},
                    "running": {"achieved": 51.5, "constraint": 48.0},
                },
                "utilization": {
                    name: {"used": n, "available": 100} for n, name in enumerate(CELLS)
                },
            }
        )
    )
    netlist = {"modules": {"top": {"cells": {"a": {"type": "LUT3"}, "b": {"type": "ALU"}}}}}
    (folder / "netlist.json").write_text(json.dumps(netlist))
    cells = {"LUT6": 10, "LUT2": 5, "FDRE": 7, "DSP48E1": 3, "RAMB36E1": 2, "RAMB18E1": 1}
    (folder / "count.json").write_text(json.dumps({"design": {"num_cells_by_type": cells}}))
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def add_tool(folder, name):
    path = folder / name
    path.write_text(FAKE.format(name=name, folder=folder))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_gowin_flow(tmp_path, fake_tools):
    board = BOARDS["tang_primer_20k"]
    result = flow.build(EchoPlan(), board, tmp_path / "out", megahertz=48, say=[].append)
    calls = (fake_tools / "calls").read_text()
    assert "--device GW2A-LV18PG256C8/I7 --vopt family=GW2A-18C --vopt cst=top.cst" in calls
    assert "gowin_pack -d GW2A-18C" in calls
    assert result["fmax_mhz"] == 51.5  # the machine's clock, not the faster one of the pin
    assert [result[name]["used"] for name in ("lut", "ff", "dsp", "bram")] == [24, 1, 2, 3]
    assert result["lut"]["available"] == 100
    assert result["bitstream"] == str(tmp_path / "out" / "top.fs")
    assert "leaves out the paths into and out of multiplier blocks" in result["notes"][0]
    counts = board.flow.count(tmp_path / "out", [].append)
    assert counts == {"lut": 2, "ff": 0, "dsp": 0, "bram": 0}


def test_without_vivado(tmp_path, fake_tools):
    board = BOARDS["arty_a7_100"]
    result = flow.build(EchoPlan(), board, tmp_path / "out", megahertz=100, say=[].append)
    assert result["bitstream"] is result["fmax_mhz"] is None
    assert "vivado is not on the PATH; run build_top.sh in" in result["notes"][0]
    assert result["lut"] == {"used": 15, "available": 63400}
    assert (result["ff"]["used"], result["dsp"]["used"], result["bram"]["used"]) == (7, 3, 5)
    assert "part xc7a100ticsg324-1L" in (tmp_path / "out" / "top.tcl").read_text()


def test_with_vivado(tmp_path, fake_tools):
    add_tool(fake_tools, "vivado")
    options = {"megahertz": 100, "say": [].append}
    (fake_tools / "timing.rpt").write_text(TIMING.format(slack=2.0))
    result = flow.build(EchoPlan(), BOARDS["arty_a7_100"], tmp_path / "out", **options)
    assert (result["fmax_mhz"], result["notes"]) == (125.0, [])
    assert result["bitstream"] == str(tmp_path / "out" / "top.bit")

    (tmp_path / "out" / "top.bit").unlink()
    (fake_tools / "timing.rpt").write_text(TIMING.format(slack=-2.5))
    with pytest.raises(flow.TimingError, match=r"reaches 80.00 MHz, not 100.00 MHz"):
        flow.build(EchoPlan(), BOARDS["arty_a7_100"], tmp_path / "out", **options)

    (tmp_path / "out" / "top.bit").unlink()
    (fake_tools / "timing.rpt").write_text("nothing")
    with pytest.raises(ToolError, match=r"top_timing.rpt is no timing summary of Vivado's"):
        flow.build(EchoPlan(), BOARDS["arty_a7_100"], tmp_path / "out", **options)


def test_programming_what_there_is_not(tmp_path):
    from typer.testing import CliRunner

    from celosia.cli import app

    notes = ["vivado is not on the PATH"]
    report = {"board": "kcu105", "bitstream": None, "config": {}, "notes": notes}
    (tmp_path / "report.json").write_text(json.dumps(report))
    done = CliRunner().invoke(app, ["program", str(tmp_path)])
    assert done.exit_code != 0
    assert "holds no bitstream: vivado is not on the PATH" in done.output


def test_programming(tmp_path, fake_tools):
    from typer.testing import CliRunner

    from celosia.cli import app

    add_tool(fake_tools, "openFPGALoader")
    (tmp_path / "top.fs").touch()
    report = {"board": "tang_primer_20k", "bitstream": "x/top.fs", "config": {}, "notes": []}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert CliRunner().invoke(app, ["program", str(tmp_path)]).exit_code == 0
    said = (fake_tools / "calls").read_text()
    assert said == f"openFPGALoader -b tangprimer20k -m {tmp_path / 'top.fs'}\n"


def test_refusal_of_what_no_configuration_fits(tmp_path):
    from typer.testing import CliRunner

    from celosia.cli import app

    words = ["build", "demo", "--board", "tang_nano_9k", "--fit", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0
    for text in ("machine of 16 weights a cycle", "block RAMs: 100 needed, 26 available"):
        assert text in done.output
    assert "No configuration of this model fits tang_nano_9k" in done.output
    assert not (tmp_path / "out").exists()


def test_tools_that_are_missing(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"gowin_pack is not there: pip install apycula \(or"):
        tool("gowin_pack")
