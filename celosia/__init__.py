"""Celosia: from a language model's checkpoint to a hardware accelerator.

The packages are the stations of the walk: ``celosia.reference`` (checkpoints, float and integer
arithmetic), ``celosia.generators`` (plan, program, memory images, Verilog), ``celosia.rtl`` (the
components), ``celosia.sim`` (running the Verilog) and ``celosia.boards`` (development boards).
In a checkout they are folders beside this one; installed, they lie inside it.
"""

import os
import sys


def _leave_the_current_folder():
    """As a command, import nothing from the current folder: a downloaded model may lie there.

    Python looks there first for ``python -m celosia``, and where ``PYTHONPATH`` has an empty or
    relative part.
    """
    if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
        del sys.path[0]
    given = os.environ.get("PYTHONPATH")
    if given and not sys.flags.ignore_environment:
        parts = [part for part in given.split(os.pathsep) if not os.path.isabs(part)]
        relative = {os.path.abspath(part) for part in parts}
        sys.path[:] = [path for path in sys.path if path and path not in relative]


if sys.argv and os.path.basename(sys.argv[0]) in ("-m", "celosia"):
    _leave_the_current_folder()

__version__ = "0.1.0"

_checkout = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if all(os.path.exists(os.path.join(_checkout, name)) for name in ("pyproject.toml", "rtl")):
    __path__.append(_checkout)
