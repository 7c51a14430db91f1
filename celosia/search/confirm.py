"""The chosen machine, looked at closely: that there is one, how fast it is, what it takes."""

import tempfile
from pathlib import Path

from celosia.boards import build as flow
from celosia.boards.measure import Measurement
from celosia.boards.options import say
from celosia.generators.config import ConfigError
from celosia.generators.estimate.report import estimate_report
from celosia.generators.plan import make_plan
from celosia.sim import toolchain

__all__ = ["HOW", "check_tools", "checked", "confirmed"]

HOW = ("cycles", "synthesis", "route")  # each does what those before it do
PARTS = ("lut", "ff", "dsp", "bram")


def check_tools(board, how):
    """Raise a ToolError if something is missing that ``how`` needs, by :data:`HOW`."""
    toolchain.find()
    if how != "cycles":
        board.flow.check_tools()


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
    """What a machine was measured to do and take, beside what was predicted.

    ``how`` is one of :data:`HOW`. By simulation the cycles of the token at the search's position,
    and with a text the integer model's perplexity; by Yosys, or routed, the parts of the chip;
    routed the clock, by which tokens per second are less where it is not met.

    Returns
    -------
    dict
        Of each figure ``{"measured", "predicted", "error"}``: None where nothing predicts it.

    Raises
    ------
    celosia.sim.toolchain.ToolError
        If a tool is missing or fails.
    """
    board, clock = search.board, search.job.clock
    plan = flow.with_clock(checked(search, found), board, clock)
    predicted = _predicted(search, plan.config)
    with tempfile.TemporaryDirectory(prefix="celosia-") as name:
        folder, measured = Path(name), {}
        measurement = Measurement(plan, folder, search.position)
        say(f"simulating {search.position + 1} tokens, for the cycles ...")
        measured["cycles_per_token"] = measurement.result()["cycles_per_token"]
        if search.loss:
            say(f"the integer model on {search.loss.tokens:,} tokens ...")
            measured["perplexity"] = search.loss.measured(plan.model)
        reached = board.clock(clock) / 1e6
        if how == "synthesis":
            flow.write_design(board, plan.machine(), clock, flow.BAUD, folder)
            measured |= board.flow.count(folder, say)
        if how == "route":
            built = flow.build(plan, board, folder, megahertz=clock, allow_fail=True, say=say)
            measured |= {n: built[n]["used"] for n in PARTS if n in built}
            measured["fmax_mhz"] = built["fmax_mhz"]
            reached = built["fmax_mhz"] and min(built["fmax_mhz"], reached)
    speed = reached and reached * 1e6 / measured["cycles_per_token"]
    return {
        name: _beside(value, predicted.get(name))
        for name, value in (measured | {"tokens_per_second": speed}).items()
    }


def _predicted(search, config):
    """The figures of a configuration, by the names of what is measured."""
    options = 1, 1, search.board, search.job.clock, {"start": search.position}
    report = estimate_report(search.model, config, *options)
    found = {name: report[name] for name in (*PARTS, "tokens_per_second")}
    if search.loss:
        found["perplexity"] = search.loss.perplexity(config)
    return found | {"cycles_per_token": report["cycles"][-1]}


def _beside(measured, predicted):
    known = measured and predicted is not None
    error = predicted / measured - 1 if known else None
    return {"measured": measured, "predicted": predicted, "error": error}
