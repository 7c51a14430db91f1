"""``celosia generate``: the files, and nothing where something fails."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from celosia.generators.config import load_config
from celosia.generators.files import generate as module
from celosia.generators.plan import make_plan
from celosia.generators.verilog import to_verilog
from celosia.reference.checkpoint import load
from command_line import fails, run
from small_checkpoint import write_checkpoint

FILES = [
    *("celosia_litex.py", "gains.hex", "manifest.json"),
    *("report.json", "scales.hex", "top.v", "weights.hex"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model"))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files(tmp_path, small):
    folder = tmp_path / "a" / "machine"
    assert run("generate", small, "--config", "tiny", "-o", folder).exit_code == 0
    assert names(folder) == FILES
    assert names(folder.parent) == ["machine"]
    plan = make_plan(load(small), load_config("tiny"))
    assert (folder / "top.v").read_text() == to_verilog(plan.machine())
    report = json.loads((folder / "report.json").read_text())
    assert report["multipliers"] == 8
    assert report["model"]["name"] == "small"
    assert report["memory_bits"] > 0
    words = [int(line, 16) for line in (folder / "weights.hex").read_text().split()]
    weights = plan.tapes.weights.reshape(len(words), -1).astype(int)
    assert words == [sum((v & 255) << 8 * n for n, v in enumerate(w)) for w in weights.tolist()]
    gains = [int(line, 16) & 0xFFFF for line in (folder / "gains.hex").read_text().split()]
    assert gains == (np.concatenate([*plan.tapes.gains.values()])[::2] & 0xFFFF).tolist()


def test_the_same_bytes_in_another_process(tmp_path, small):
    """Whatever order Python's sets have there; and over an earlier result."""
    run("generate", small, "--config", "tiny", "-o", tmp_path / "one")
    (tmp_path / "two").mkdir()
    command = [sys.executable, "-m", "celosia", "generate", str(small), "--config", "tiny"]
    command += ["-o", str(tmp_path / "two")]
    subprocess.run(command, env={"PYTHONHASHSEED": "1"}, capture_output=True, check=True)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_external_memory(tmp_path, small):
    settings = ("--set", "memory=axi", "--set", "axi_width=32", "--set", "axi_ports=2")
    done = run("generate", small, "--config", "tiny", *settings, "-o", tmp_path / "machine")
    assert done.exit_code == 0
    images = [(tmp_path / "machine" / f"axi{port}.bin").read_bytes() for port in range(2)]
    assert names(tmp_path / "machine") == sorted(
        ["axi0.bin", "axi1.bin", "package_ip.tcl", *FILES[:-1]]
    )
    words = make_plan(load(small), load_config("tiny")).tapes.weights.view("u1").reshape(-1, 2, 4)
    assert images == [words[:, port].tobytes() for port in range(2)]
    assert 'X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi1 ARADDR"' in (
        (tmp_path / "machine" / "top.v").read_text()
    )
    module = (tmp_path / "machine" / "celosia_litex.py").read_text()
    compile(module, "celosia_litex.py", "exec")
    top = (tmp_path / "machine" / "top.v").read_text().partition("\nmodule top(")[2]
    declared = r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$"
    ports = re.findall(declared, top.partition("\nendmodule")[0], re.MULTILINE)
    assert {"clk", "rst", "rx__payload", "m_axi1_araddr"} <= {name for _, _, name in ports}
    lines = [f'    "{name}": ("{way}", {int(high or 0) + 1}),' for way, high, name in ports]
    assert "\nPORTS = {\n" + "\n".join(lines) + "\n}\n" in module
    assert f'\nMEMORIES = {{\n    "m_axi0": {len(images[0])},\n' in module
    script = (tmp_path / "machine" / "package_ip.tcl").read_text()
    assert "read_verilog [file join $here top.v]" in script
    assert run("generate", small, "--config", "tiny", "-o", tmp_path / "machine").exit_code == 0
    assert not (tmp_path / "machine" / "package_ip.tcl").exists()


def test_sdram(tmp_path, small):
    command = ("generate", small, "--config", "tiny", "--set", "memory=sdram")
    assert run(*command, "-o", tmp_path / "machine").exit_code == 0
    assert names(tmp_path / "machine") == sorted(["sdram.bin", *FILES[:-1]])
    words = make_plan(load(small), load_config("tiny")).tapes.weights
    assert (tmp_path / "machine" / "sdram.bin").read_bytes() == words.tobytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_of_an_interrupted_run(tmp_path, small, monkeypatch, error):
    def interrupt(component, folder):
        raise error

    monkeypatch.setattr(module, "to_verilog", interrupt)
    command = ("generate", small, "--config", "tiny", "-o", tmp_path / "machine")
    if error is KeyboardInterrupt:
        assert fails(*command, status=130) == "interrupted"
    else:  # a bug: it shows as one
        assert "unexpected RuntimeError" in fails(*command, status=3)
    assert names(tmp_path) == []


def test_unwritable_folders(tmp_path, small):
    (tmp_path / "file").touch()
    command = ("generate", small, "--config", "tiny", "-o")
    assert fails(*command, tmp_path / "file").endswith("file: is a file, not a folder")
    assert "file/below: Not a directory" in fails(*command, tmp_path / "file" / "below")
    assert "left as it is" in fails(*command, tmp_path)
    assert names(tmp_path) == ["file"]


def test_folders_are_looked_at_before_the_model(tmp_path):
    (tmp_path / "precious").touch()
    assert "left as it is" in fails("generate", "no such model", "-o", tmp_path)
    folder = tmp_path / "precious" / "below"
    for command in (("generate",), ("quantize", "--text", "no such text")):
        assert "Not a directory" in fails(*command, "no such model", "-o", folder)
    assert names(tmp_path) == ["precious"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["vector_lanes=0"], "vector_lanes must be a power of two from 2 to 32, not 0"),
        (["weight_parallelism=0"], "weight_parallelism must be "),
        (["weight_parallelism=1024"], "more than the model can fill"),
        (["max_seq_len=1000"], "max_seq_len must be at most the model's 24, not 1000"),
        (["colour=red"], "--set takes name=value"),
    ],
)
def test_impossible_parameters(tmp_path, small, settings, message):
    options = [part for setting in settings for part in ("--set", setting)]
    command = ("generate", small, "--config", "tiny", *options, "-o", tmp_path / "machine")
    assert message in fails(*command)
    assert names(tmp_path) == []


def test_some_of_the_layers(tmp_path, small):
    command = ("generate", small, "--config", "tiny", "-o", tmp_path / "machine")
    assert run(*command, "--layers", 1).exit_code == 0
    report = json.loads((tmp_path / "machine" / "report.json").read_text())
    assert {s["name"].split(".")[1] for s in report["memory_map"]["weights"]["sections"][:-1]} == {
        "0"
    }
    message = "--layers must be from 1 to the model's 2, not 3"
    assert message in fails(*command, "--layers", 3)
    assert message.replace("3", "0") in fails(*command, "--layers", 0)


def test_memory_that_does_not_fit(tmp_path, small, monkeypatch):
    monkeypatch.setattr(module, "MEMORY_LIMIT", 1000)
    message = fails("generate", small, "--config", "tiny", "-o", tmp_path / "machine")
    assert message.startswith("tape and KV cache need 0.0 MiB on chip")
    assert names(tmp_path) == []
    assert "is no configuration" in fails("generate", small, "--config", "no", "-o", tmp_path)


@pytest.mark.slow
def test_stories260k(tmp_path, stories260k):
    """The real model's machine: as much tape as it has weights."""
    model = stories260k / "stories260K.bin"
    assert run("generate", model, "-o", tmp_path / "machine").exit_code == 0
    report = json.loads((tmp_path / "machine" / "report.json").read_text())
    assert report["ideal_cycles"] == {"0": 4062.0, "100": 5062.0}
    assert report["memory_map"]["weights"]["bytes"] == 263_168


def test_help_fills_its_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("generate", "--help").stdout.splitlines()
    assert any("all is done" in line and "weights.hex" in line for line in lines)
    assert any("replaced" in line and "report.json" in line for line in lines)
