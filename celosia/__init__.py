"""Celosia: from a language model's checkpoint to a hardware accelerator.

The packages are the stations of the walk: ``celosia.reference`` (checkpoints, float and integer
arithmetic), ``celosia.generators`` (plan, program, memory images, Verilog), ``celosia.rtl`` (the
components), ``celosia.sim`` (running the Verilog) and ``celosia.boards`` (development boards).
In a checkout they are folders beside this one; installed, they lie inside it.
"""

import sys

# Run as `python -m celosia`, Python looks for modules in the current folder first: whatever lies
# beside a downloaded model would be run.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    del sys.path[0]

from pathlib import Path

__version__ = "0.1.0"

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "rtl").is_dir():
    __path__.append(str(_checkout))
