"""celosia_litex.py: it knows top.v's ports; LiteX elaborates its SoC, and the SoC's host is served.

What needs LiteX needs ``pip install celosia[litex]``, or LiteX's folder in PYTHONPATH.
"""

import ast
import importlib.util
import os
import re
import subprocess
import sys

import pytest
from celosia.generators.config import load_config
from celosia.generators.files.litex import litex_module
from celosia.generators.plan import make_plan
from celosia.reference import integer
from celosia.reference.checkpoint import load
from celosia.reference.model import random_model
from celosia.sim import bench, toolchain
from command_line import run
from small_checkpoint import CONFIG, write_checkpoint

EXTERNAL = ("memory=axi", "axi_width=32", "axi_ports=2", "kv_memory=axi", "kv_axi_width=128")
MACHINES = {
    "registers": ("control=axi_lite",),
    "external": (*EXTERNAL, "control=axi_lite"),
    "link": ("memory=axi", "axi_width=128"),
}
needs_litex = pytest.mark.skipif(
    not (importlib.util.find_spec("litex") and importlib.util.find_spec("litedram")),
    reason="needs LiteX and LiteDRAM: pip install celosia[litex]",
)
# The chip as benches see it: the machine's module makes way for a `top` around LiteX' SoC.
CHIP = """
module top(clk, rx__payload, rx__valid, rx__ready, tx__payload, tx__valid, tx__ready);
  input clk;
  input [7:0] rx__payload;
  input rx__valid;
  output rx__ready;
  output [7:0] tx__payload;
  output tx__valid;
  input tx__ready;
  wire trace;
  sim sim(.sys_clk(clk), .sim_trace(trace), .serial_sink_data(rx__payload),
    .serial_sink_valid(rx__valid), .serial_sink_ready(rx__ready),
    .serial_source_data(tx__payload), .serial_source_valid(tx__valid),
    .serial_source_ready(tx__ready));
endmodule
"""


def tables(text):
    """PORTS and MEMORIES of a celosia_litex.py."""
    assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    found = {node.targets[0].id: node.value for node in assigned}
    return ast.literal_eval(found["PORTS"]), ast.literal_eval(found["MEMORIES"])


LINK = {
    **{"clk": ("input", 1), "rst": ("input", 1)},
    **{"rx__payload": ("input", 8), "rx__valid": ("input", 1), "rx__ready": ("output", 1)},
    **{"tx__payload": ("output", 8), "tx__valid": ("output", 1), "tx__ready": ("input", 1)},
}


def module(settings, ports):
    """The celosia_litex.py of a tiny machine, whose top.v is said to have `ports`; its plan."""
    lines = [
        f"  {way} {f'[{bits - 1}:0] ' if bits > 1 else ''}{name};\n"
        for name, (way, bits) in ports.items()
    ]
    verilog = f"module other(a);\n  input a;\nendmodule\nmodule top(\n{''.join(lines)}\nendmodule\n"
    plan = make_plan(random_model(CONFIG, seed=3), load_config("tiny", settings))
    return litex_module(plan, verilog), plan


def test_the_file_knows_ports_and_memories():
    ports = LINK | {"m_axi0_araddr": ("output", 40), "interrupt": ("output", 1)}
    text, plan = module(MACHINES["external"], ports)
    found, memories = tables(text)
    assert found == ports
    sizes = {f"m_axi{n}": len(image) for n, image in enumerate(plan.images())}
    assert memories == sizes | {"m_axi_kv": plan.cache_bytes}
    compile(text, "celosia_litex.py", "exec")
    with pytest.raises(ValueError, match="must have a module called top"):
        litex_module(plan, "module chip(); endmodule\n")


MASTER = LINK | {"m_axi0_rdata": ("input", 128)}


@needs_litex
@pytest.mark.parametrize(
    ("settings", "ports", "command", "message"),
    [
        (
            *((), LINK | {"sdram__cs_n": ("output", 1)}),
            *("main()", "the example does not wire the chips at sdram: connect"),
        ),
        (MACHINES["link"], MASTER, 'board_soc("any")', "generate with control=axi_lite"),
        (
            *(MACHINES["link"], MASTER),
            *("CelosiaCore(s.platform, 0).attach(s)", "m_axi0 needs main_ram at 0x0 to 0x"),
        ),
    ],
)
def test_what_the_example_does_not_do(tmp_path, settings, ports, command, message):
    (tmp_path / "celosia_litex.py").write_text(module(settings, ports)[0])
    made = "s = SoCCore(SimPlatform('SIM', []), 1, cpu_type=None, with_uart=False)"
    code = "import sys; sys.path.insert(0, '.'); from celosia_litex import *\n"
    code += f"from celosia_litex import SimPlatform, SoCCore, main\n{made}\n{command}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert message in done.stderr


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A function of a machine's name: its folder and its plan."""
    folder, made = tmp_path_factory.mktemp("machines"), {}

    def make(name):
        if name not in made:
            model = write_checkpoint(folder)
            settings = [part for setting in MACHINES[name] for part in ("--set", setting)]
            done = run("generate", model, "--config", "tiny", *settings, "-o", folder / name)
            assert done.exit_code == 0, done.stderr
            made[name] = folder / name, make_plan(load(model), load_config("tiny", MACHINES[name]))
        return made[name]

    return make


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def elaborate(folder, *options):
    """Run celosia_litex.py; what its SoC's Verilog holds, and the finished process."""
    command = [sys.executable, folder / "celosia_litex.py", "--elaborate", *options]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    verilog = folder / "build" / "gateware" / "sim.v"
    return verilog.read_text() if done.returncode == 0 else "", done


def together(folder, verilog):
    """The SoC and the machine as one text, whose files are found from anywhere."""
    text = verilog.replace('$readmemh("', f'$readmemh("{folder}/build/gateware/')
    core = (folder / "top.v").read_text().replace("module top(", "module celosia_core(")
    return core + text.replace("\ntop top(", "\ncelosia_core celosia_core(") + CHIP


def lint(folder, verilog):
    """What Verilator says about the machine's pins in the SoC, and its errors."""
    tools = toolchain.find()
    (folder / "all.v").write_text(together(folder, verilog))
    command = [tools.verilator, "--lint-only", "-Wall", "-Wno-fatal", "--top-module", "top"]
    env = dict(os.environ, VERILATOR_ROOT=str(tools.root))
    done = subprocess.run([*command, "all.v"], cwd=folder, env=env, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("%")]
    return [line for line in said if re.search("^%Error|-PIN|port connection", line)]


@needs_litex
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("registers", []),
        ("external", []),
        ("external", ["--ram"]),
        ("link", []),
    ],
)
def test_soc_gives_the_references_tokens(machine, name, options):
    """LiteX elaborates the SoC, Verilator finds no fault at the machine's pins, and a host on the
    SoC's UARTBone, or at the host link, gets the tokens of the reference."""
    folder, plan = machine(name)
    verilog, done = elaborate(folder, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lint(folder, verilog) == []
    requests = [([3, 1, 4], 3), ([30, 36], 2)]
    csr = (folder / "build" / "csr.csv").read_text()
    registers = re.search(r"^memory_region,celosia,(\w+),4096,io$", csr, re.MULTILINE)
    assert bool(registers) == ("control=axi_lite" in MACHINES[name])
    given = {"requests": requests, "registers": registers and int(registers[1], 16)}
    answer = bench.run_program(together(folder, verilog), "bench_litex", given)
    assert answer == [integer.generate(plan.model, *request)[0] for request in requests]
