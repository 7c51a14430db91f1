"""The chosen machine, looked at closely: that there is one, what it takes, how fast it is."""

import tempfile
from pathlib import Path

from celosia.boards import build as flow
from celosia.boards.measure import Measurement
from celosia.boards.options import say
from celosia.generators.config import ConfigError
from celosia.generators.plan import make_plan

__all__ = ["checked", "confirmed"]


def checked(search, found):
    """The plan of a machine that was found.

    Raises
    ------
    ConfigError
        If there is none: figures are those of sizes, and weights may be such that no format holds
        them.
    """
    try:
        return make_plan(search.model, found.made("found"))
    except ConfigError as error:
        raise ConfigError(f"trial {found.trial} is no machine: {error}; --choose another") from None


def confirmed(search, found, how):
    """What tools say of a machine: ``{"lut", "ff", "dsp", "bram"}`` as Yosys counts.

    With ``how`` of ``route`` after placement and routing, and beside them ``fmax_mhz``, the
    simulated ``cycles_per_token`` and ``tokens_per_second`` at the clock that is met.

    Raises
    ------
    celosia.sim.toolchain.ToolError
        If a tool is missing or fails.
    """
    board, clock = search.board, search.job.clock
    board.flow.check_tools()
    plan = flow.with_clock(checked(search, found), board, clock)
    with tempfile.TemporaryDirectory(prefix="celosia-") as name:
        folder = Path(name)
        if how == "synthesis":
            flow.write_design(board, plan.machine(), clock, flow.BAUD, folder)
            return board.flow.count(folder, say)
        measurement = Measurement(plan, folder, search.position)
        built = flow.build(plan, board, folder, megahertz=clock, allow_fail=True, say=say)
        say("simulating, for the cycles per token ...")
        cycles = measurement.result()["cycles_per_token"]
    parts = {n: built[n]["used"] for n in ("lut", "ff", "dsp", "bram") if n in built}
    reached = built["fmax_mhz"]
    speed = reached and min(reached, built["clock_mhz"]) * 1e6 / cycles
    return parts | {"fmax_mhz": reached, "cycles_per_token": cycles, "tokens_per_second": speed}
