"""The command ``celosia build``: from a checkpoint to a bitstream, and a report beside it."""

from pathlib import Path
from typing import Annotated

import typer
from celosia.boards.options import REPORT, BaudOption, say
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from celosia.folder import check_folder, working_folder
from celosia.guard import CLOCK_MISSED, complain
from celosia.options import JsonOption, ModelArgument, SetOption, TokenizerOption
from celosia.output import check_apart, new_json
from celosia.printable import NAME, printable

__all__ = ["build"]

MADE_BY = "celosia build"
NAMES = (  # of the files that the steps of a build leave, which may be ended in the middle
    *("top.*", "top_*", "build_top.sh", "tape.*", "cycles.json", REPORT, "synthesis.ys", "count.*"),
    *("route*", "stat.txt", "*.log", "*.done", "*.new", "vivado*", ".Xil", ".celosia-*"),
)
PARTS = {
    "lut": "LUTs",
    "ff": "flip-flops",
    "dsp": "multiplier blocks",
    "bram": "block RAMs",
    "spram": "single-port RAMs",
}
LinkOption = Annotated[
    str | None,
    typer.Option("--link", metavar="L", help="To the host: uart, or usb of the FPGA's own pins."),
]
BoardOption = Annotated[str, typer.Option("--board", metavar="B", help="See: celosia boards.")]


def build(
    model: ModelArgument,
    board: BoardOption,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where the files go.")
    ],
    tokenizer: TokenizerOption = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="C", help="By default what fits the board.")
    ] = None,
    settings: SetOption = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="The largest configuration that fits the board.")
    ] = False,
    clock: Annotated[
        float | None, typer.Option("--clock", metavar="MHZ", help="By default the board's.")
    ] = None,
    link: LinkOption = None,
    baud: BaudOption = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Placements to try.")] = 1,
    allow_fail: Annotated[
        bool, typer.Option("--allow-fail", help="Take a bitstream that misses its clock.")
    ] = False,
    json_file: JsonOption = None,
):
    """Make a bitstream: synthesis, placement, routing; and say how fast it will be.

    Tokens per second are the routed clock over the cycles that the simulated machine takes for the
    token at position 100. What was done before in DIR is not done again. Exit status 4 if no
    placement meets the clock.
    """
    from celosia.boards import build as flow
    from celosia.boards.catalog import find_board
    from celosia.boards.estimate import check_fit, default_clock
    from celosia.boards.link import linked
    from celosia.boards.measure import Measurement
    from celosia.boards.tape_file import write_tape
    from celosia.generators.config import ConfigError
    from celosia.generators.plan import make_plan
    from celosia.reference.checkpoint import load

    target = linked(find_board(board), link)
    check_folder(output, MADE_BY, NAMES)
    loaded = load(model, tokenizer)
    check_apart([json_file], [model, tokenizer, config])
    parameters = _parameters(loaded, target, config, settings, fit)
    megahertz = default_clock(target, parameters, loaded.config) if clock is None else clock
    try:
        wanted = target.clock(megahertz) / 1e6
    except ValueError as error:
        raise ConfigError(str(error)) from None
    baud = baud or flow.line_rate(target, megahertz)
    needs = check_fit(loaded.config, parameters, target)
    flow.check(parameters, target, megahertz, baud)
    available = target.resources
    say(
        f"{printable(loaded.name, NAME)} on {target.name} at {wanted:.2f} MHz: "
        f"{parameters.weight_parallelism} multipliers, {parameters.vector_lanes} lanes; "
        f"about {needs.lut:,} of {available['lut']:,} LUTs, {needs.dsp} of {available['dsp']} "
        f"multiplier blocks, {needs.bram} of {available['bram']} block RAMs"
    )
    with working_folder(output, MADE_BY, NAMES), new_json(json_file) as write_json:
        target.flow.check_tools()
        plan = make_plan(loaded, parameters)
        (output / REPORT).unlink(missing_ok=True)  # written again when all is done
        if parameters.memory == "sdram" or parameters.boot == "flash":
            write_tape(flow.with_clock(plan, target, megahertz), output)
        say("writing the design ...")
        measurement = Measurement(plan, output)
        options = {"megahertz": megahertz, "baud": baud, "seeds": seeds, "allow_fail": allow_fail}
        try:
            result = flow.build(plan, target, output, **options, say=say)
        except flow.TimingError as error:
            complain(str(error))
            raise typer.Exit(CLOCK_MISSED) from None
        say("simulating, for the cycles per token ...")
        report = _report(plan, target, baud, result, measurement.result())
        with new_json(output / REPORT) as write_report:
            write_report(report)
        write_json(report)
    _show_build(report)


def _parameters(model, board, config, settings, fit):
    """The configuration that is asked for, or the largest one that fits."""
    from celosia.boards.estimate import board_config
    from celosia.generators.config import AUTO, ConfigError

    if fit and (config not in (None, AUTO) or settings):
        raise ConfigError("--fit chooses the configuration: give no --config or --set with it")
    return board_config(model, board, config or AUTO, settings or [])


def _tools(names):
    """Of each tool its version, and where it came from."""
    from celosia.sim.tools import find_tool

    found = {name: find_tool(name) for name in names}
    return {name: {"version": one.version, "source": one.source} for name, one in found.items()}


def _report(plan, board, baud, result, measured):
    """What ``report.json`` says: of what the tools found, and of the simulation."""
    from celosia.boards.link import link_of

    speed = None
    if result["fmax_mhz"] is not None:
        clock_mhz = min(result["clock_mhz"], result["fmax_mhz"])
        speed = clock_mhz * 1e6 / measured["cycles_per_token"]
    return {
        "board": board.name,
        "model": plan.info.name,
        "config": {n: getattr(plan.config, n) for n in plan.config.__dataclass_fields__},
        "clock_mhz": result["clock_mhz"],
        "fmax_mhz": result["fmax_mhz"],
        **{name: result[name] for name in ("usb_clock", *PARTS) if name in result},
        "position": measured["position"],
        "cycles_per_token": measured["cycles_per_token"],
        "tokens_per_second": speed,
        "bitstream": result["bitstream"],
        "multipliers": plan.shape.multipliers,
        "utilisation": measured["utilisation"],
        "seed": result["seed"],
        "tools": _tools(board.flow.tools),
        "link": link_of(board),
        "baud": baud,
        "notes": result["notes"],
    }


def _show_build(report):
    title = f"{escape(printable(report['model'], NAME))} on {report['board']}"
    table = Table(title=title, show_header=False)
    table.add_row("clock", f"{report['clock_mhz']:.2f} MHz")
    routed = report["fmax_mhz"] is not None
    table.add_row("reached after routing", f"{report['fmax_mhz']:.2f} MHz" if routed else "unknown")
    for name, text in PARTS.items():
        if part := report.get(name):
            table.add_row(text, f"{part['used']:,} of {part['available']:,}")
    table.add_row("multipliers of the fabric", f"{report['multipliers']}")
    table.add_row(
        f"cycles per token at position {report['position']}", f"{report['cycles_per_token']:,}"
    )
    table.add_row("utilisation", f"{report['utilisation']:.1%}")
    table.add_row(
        "tokens per second", f"{report['tokens_per_second']:,.0f}" if routed else "unknown"
    )
    table.add_row("bitstream", escape(printable(report["bitstream"] or "none")))
    for note in report["notes"]:
        table.add_row("note", escape(printable(note)))
    Console().print(table)
