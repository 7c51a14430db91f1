"""``celosia doctor``: what is here, and what a missing tool keeps from working."""

import json

from celosia.sim import toolchain
from command_line import run

from celosia.doctor import check_all


def test_what_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "doctor.json"
    done = run("doctor", "--json", path)
    assert done.exit_code == 0, done.output
    result = json.loads(path.read_text())
    assert result["works"] is True
    checks = {check["name"]: check for check in result["checks"]}
    assert checks["Verilator"]["found"].endswith(toolchain.find().verilator)
    assert checks["C++ compiler"]["found"] == " ".join(toolchain.find().cxx)
    assert checks["cache"]["found"] == f"{tmp_path / 'cache'}, 0 MB"
    assert checks["disk"]["found"].endswith(f"GB free at {tmp_path / 'cache'}")
    required = {name for name, check in checks.items() if check["required"]}
    verilog = "Yosys that writes Verilog"
    assert required == {"Python", "C++ compiler", "Verilator", verilog, "disk"}


def test_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "file").touch()
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    path = tmp_path / "doctor.json"
    done = run("doctor", "--json", path)
    assert done.exit_code == 2
    assert "celosia simulate cannot work yet" in done.stdout
    result = json.loads(path.read_text())
    missing = {check["name"] for check in result["checks"] if check["found"] is None}
    assert missing >= {"C++ compiler", "cache", "Vivado", "openFPGALoader"}
    assert not result["works"]
    assert all(check["install"] and check["needed_for"] for check in result["checks"])


def test_packages_that_are_missing(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("celosia.sim.tools.importlib.util.find_spec", lambda name: None)
    checks = {check.name: check for check in check_all()}
    assert checks["nextpnr-ice40"].found is None
    assert checks["nextpnr-ice40"].needed_for == "build for iCE40"
    assert checks["nextpnr-ice40"].install == "pip install 'celosia[boards]'"
    assert checks["gowin_pack"].install == "pip install apycula"
    assert checks["Verilator"].found is None
    assert checks["Verilator"].required


def test_a_cache_that_other_processes_tidy(tmp_path, monkeypatch):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    (tmp_path / "kept").write_bytes(bytes(2_000_000))
    (tmp_path / "elsewhere").symlink_to("/nowhere")
    walk = [(str(tmp_path), ["gone"], ["kept", "elsewhere", "removed"])]
    monkeypatch.setattr("os.walk", lambda folder: walk)
    checks = {check.name: check for check in check_all()}
    assert checks["cache"].found == f"{tmp_path}, 2 MB"


def test_the_table_shows_whole_paths(tmp_path, monkeypatch):
    cache = tmp_path / "folder" / ("long" * 30)
    monkeypatch.setenv("CELOSIA_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "80")
    rows = [line.split("│") for line in run("doctor").stdout.splitlines() if line.startswith("│")]
    assert str(cache) in "".join(row[2].strip() for row in rows)
