"""The command ``celosia build``: from a checkpoint to a bitstream, and a report beside it."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from celosia.boards.options import BaudOption, ModelArgument, SetOption, TokenizerOption, say
from rich.console import Console
from rich.table import Table

from celosia.output import new_file

__all__ = ["build"]

MISSED = 1
PARTS = {
    "lut": "LUTs",
    "ff": "flip-flops",
    "dsp": "multiplier blocks",
    "bram": "block RAMs",
    "spram": "single-port RAMs",
}
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
    baud: BaudOption = 1_000_000,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Placements to try.")] = 1,
    allow_fail: Annotated[
        bool, typer.Option("--allow-fail", help="Take a bitstream that misses its clock.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")
    ] = None,
):
    """Make a bitstream: synthesis, placement, routing; and say how fast it will be.

    Tokens per second are the routed clock over the cycles that the simulated machine takes for the
    token at position 100. What was done before in DIR is not done again. Exit status 1 if no
    placement meets the clock.
    """
    from celosia.boards import build as flow
    from celosia.boards.catalog import find_board
    from celosia.boards.estimate import check_fit, fitting_config, smallest_config
    from celosia.boards.measure import Measurement
    from celosia.boards.tape_file import write_tape
    from celosia.generators.config import ConfigError, load_config
    from celosia.generators.plan import make_plan
    from celosia.reference.checkpoint import load

    target = find_board(board)
    megahertz = clock or target.default_clock
    try:
        wanted = target.clock(megahertz) / 1e6
    except ValueError as error:
        raise ConfigError(str(error)) from None
    loaded = load(model, tokenizer)
    if fit or (config is None and not settings):
        if config is not None or settings:
            raise ConfigError("--fit chooses the configuration: give no --config or --set with it")
        try:
            parameters = fitting_config(loaded.config, target)
        except LookupError:
            parameters = smallest_config(loaded.config, target)  # refused below, with its numbers
    else:
        parameters = load_config(config or "small", settings or [])
    needs = check_fit(loaded.config, parameters, target)
    available = target.resources
    say(
        f"{loaded.name} on {target.name} at {wanted:.2f} MHz: "
        f"{parameters.weight_parallelism} multipliers, {parameters.vector_lanes} lanes; "
        f"about {needs.lut:,} of {available['lut']:,} LUTs, {needs.dsp} of {available['dsp']} "
        f"multiplier blocks, {needs.bram} of {available['bram']} block RAMs"
    )
    plan = make_plan(loaded, parameters)
    output.mkdir(parents=True, exist_ok=True)
    if parameters.memory == "sdram" or parameters.boot == "flash":
        write_tape(flow.with_clock(plan, target, megahertz), output)
    say("writing the design ...")
    measurement = Measurement(plan, output)
    try:
        result = flow.build(
            plan,
            target,
            output,
            megahertz=megahertz,
            baud=baud,
            seeds=seeds,
            allow_fail=allow_fail,
            say=say,
        )
    except flow.TimingError as error:
        print(f"celosia: error: {error}", file=sys.stderr)
        raise typer.Exit(MISSED) from None
    say("simulating, for the cycles per token ...")
    measured = measurement.result()
    speed = None
    if result["fmax_mhz"] is not None:
        clock_mhz = min(result["clock_mhz"], result["fmax_mhz"])
        speed = clock_mhz * 1e6 / measured["cycles_per_token"]
    report = {
        "board": target.name,
        "model": plan.info.name,
        "config": {n: getattr(plan.config, n) for n in plan.config.__dataclass_fields__},
        "clock_mhz": result["clock_mhz"],
        "fmax_mhz": result["fmax_mhz"],
        **{name: result[name] for name in PARTS if name in result},
        "position": measured["position"],
        "cycles_per_token": measured["cycles_per_token"],
        "tokens_per_second": speed,
        "bitstream": result["bitstream"],
        "multipliers": plan.shape.multipliers,
        "utilisation": measured["utilisation"],
        "seed": result["seed"],
        "baud": baud,
        "notes": result["notes"],
    }
    _write_json(output / "report.json", report)
    if json_file is not None:
        _write_json(json_file, report)
    _show_build(report)


def _show_build(report):
    table = Table(title=f"{report['model']} on {report['board']}", show_header=False)
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
    table.add_row("bitstream", report["bitstream"] or "none")
    for note in report["notes"]:
        table.add_row("note", note)
    Console().print(table)


def _write_json(path, value):
    with new_file(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=2) + "\n")
