"""The commands that concern boards: ``build``, ``boards``, ``program`` and ``chat``."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from celosia.output import new_file

__all__ = ["register"]

MISSED = 1
PARTS = {
    "lut": "LUTs",
    "ff": "flip-flops",
    "dsp": "multiplier blocks",
    "bram": "block RAMs",
    "spram": "single-port RAMs",
}
BoardOption = Annotated[str, typer.Option("--board", metavar="B", help="See: celosia boards.")]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="As for celosia simulate.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter; may be repeated."),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option("--tokenizer", metavar="FILE", help="Where the checkpoint carries none."),
]
BaudOption = Annotated[int, typer.Option("--baud", metavar="BITS", help="Of the serial line.")]
HELP = """Type a text and the machine goes on from it. /reset, /status, /quit."""


def register(app):
    """Add the commands to the command line ``app``."""
    for command in (build, boards, program, load, chat):
        app.command()(command)


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
    _say(
        f"{loaded.name} on {target.name} at {wanted:.2f} MHz: "
        f"{parameters.weight_parallelism} multipliers, {parameters.vector_lanes} lanes; "
        f"about {needs.lut:,} of {available['lut']:,} LUTs, {needs.dsp} of {available['dsp']} "
        f"multiplier blocks, {needs.bram} of {available['bram']} block RAMs"
    )
    plan = make_plan(loaded, parameters)
    output.mkdir(parents=True, exist_ok=True)
    if parameters.memory == "sdram" or parameters.boot == "flash":
        write_tape(flow.with_clock(plan, target, megahertz), output)
    _say("writing the design ...")
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
            say=_say,
        )
    except flow.TimingError as error:
        print(f"celosia: error: {error}", file=sys.stderr)
        raise typer.Exit(MISSED) from None
    _say("simulating, for the cycles per token ...")
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


def boards():
    """List the boards, what they have, and the largest demo machine that fits."""
    from celosia.boards.catalog import BOARDS
    from celosia.boards.estimate import fitting_config
    from celosia.reference.checkpoint import load

    demo = load("demo", None).config
    table = Table("board", "LUTs", "multiplier blocks", "block RAMs", "largest demo")
    for name, board in BOARDS.items():
        try:
            c = fitting_config(demo, board)
            text = f"{c.weight_parallelism} multipliers of {c.weight_width} bits, "
            text += f"{c.max_seq_len} positions" + (", tape in SDRAM" * (c.memory == "sdram"))
        except LookupError:
            text = "none of 4 bits or more"
        parts = [f"{board.resources[n]:,}" for n in ("lut", "dsp", "bram")]
        table.add_row(name, *parts, text)
    Console().print(table)


def program(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What celosia build made.")],
    flash: Annotated[
        bool, typer.Option("--flash", help="Into the flash memory: it stays after power-off.")
    ] = False,
):
    """Load a bitstream into the board, with openFPGALoader; with boot=flash also its tape."""
    from celosia.boards.catalog import find_board
    from celosia.boards.tape_file import read_tape
    from celosia.generators.config import ConfigError
    from celosia.sim.toolchain import ToolError

    try:
        report = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} is no folder that celosia build made: {error}") from None
    if report["bitstream"] is None:
        raise ConfigError(f"{folder} holds no bitstream: {'; '.join(report['notes'])}")
    if shutil.which("openFPGALoader") is None:
        raise ToolError(
            "openFPGALoader is not there: see https://trabucayre.github.io/openFPGALoader"
        )
    board = find_board(report["board"])
    target = "-f" if flash else "-m"
    bitstream = str(folder / board.flow.bitstream)
    command = ["openFPGALoader", "-b", board.loader, target, bitstream]
    done = subprocess.run(command, check=False)
    if not done.returncode and report["config"].get("boot") == "flash":
        tape, record = str(folder / "tape.bin"), read_tape(folder)[1]
        place = ["-f", "-o", str(record["flash_offset"]), "--file-type", "raw", tape]
        done = subprocess.run(["openFPGALoader", "-b", board.loader, *place], check=False)
    if done.returncode:
        raise ToolError(f"openFPGALoader failed ({done.returncode})")


def load(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What celosia build made.")],
    port: Annotated[str, typer.Option("--port", metavar="PORT", help="As /dev/ttyUSB0.")],
    baud: BaudOption = 1_000_000,
):
    """Load the tape into the SDRAM of a board, after `celosia program`.

    What is there already is not sent again: an interrupted load goes on where it was.
    """
    from celosia.boards.serial_port import SerialTransport
    from celosia.boards.tape_file import read_tape

    image, record = read_tape(folder)
    with contextlib.closing(SerialTransport(port, baud)) as transport:
        sent = load_tape(transport, image, record)
    print(f"{record['model']}: {len(image):,} bytes are in the memory, {sent:,} of them sent now")


def load_tape(transport, image, record):
    """Load a tape (:mod:`celosia.boards.tape_file`); how many bytes were sent.

    Raises
    ------
    celosia.sim.driver.DriverError
        If the machine is another one, or cannot be loaded.
    """
    from celosia.sim.driver import Driver, DriverError
    from celosia.sim.loader import load_memory

    driver = Driver(transport)
    driver.reset()
    found = driver.info().model_hash.hex()
    if found != record["model_hash"]:
        raise DriverError(
            f"the board's machine is of another model ({found}, not {record['model_hash']}): "
            "program it first"
        )
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("loading", total=len(image))
        return load_memory(driver, image, lambda done, _: bar.update(task, completed=done))


def chat(
    model: ModelArgument,
    port: Annotated[
        str | None, typer.Option("--port", metavar="PORT", help="The board's, as /dev/ttyUSB0.")
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="A machine in simulation in place of a board.")
    ] = False,
    tokenizer: TokenizerOption = None,
    config: Annotated[str, typer.Option("--config", metavar="C", help="If simulated.")] = "small",
    settings: SetOption = None,
    baud: BaudOption = 1_000_000,
    tokens: Annotated[int, typer.Option(min=1, metavar="N", help="At most, per text.")] = 200,
    temperature: Annotated[float, typer.Option(metavar="T", help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the sampling.")] = 0,
):
    """Talk with a machine, on a board or in simulation: type a text, and it goes on from it.

    The model is needed for its tokenizer alone, except with --simulated. Lines that begin with a
    slash are commands: /reset, /status, /quit.
    """
    from celosia.generators.config import ConfigError
    from celosia.reference.checkpoint import load

    if (port is None) != simulated:
        raise ConfigError("give either --port PORT or --simulated")
    loaded = load(model, tokenizer)
    if loaded.tokenizer is None:
        raise ConfigError(f"{model}: a chat needs a tokenizer: give --tokenizer FILE")
    with contextlib.closing(_transport(loaded, port, baud, config, settings)) as transport:
        from celosia.boards.chat import Chat

        talk = Chat(transport, loaded.tokenizer, tokens, temperature, seed)
        print(talk.greeting())
        print(HELP)
        talk.loop(sys.stdin, sys.stdout)


def _transport(loaded, port, baud, config, settings):
    """The board behind ``port``, or a simulated machine."""
    if port is not None:
        from celosia.boards.serial_port import SerialTransport

        return SerialTransport(port, baud)
    from celosia.generators.config import load_config
    from celosia.generators.plan import make_plan
    from celosia.sim.driver import Driver
    from celosia.sim.loader import load_memory
    from celosia.sim.native import NativeSimulation
    from celosia.sim.native_transport import NativeTransport
    from celosia.sim.simulate import fill_memories, machine_verilog

    _say("building the simulation (kept for the next time) ...")
    plan = make_plan(loaded, load_config(config, settings or []))
    simulation = NativeSimulation(machine_verilog(plan), ())
    fill_memories(plan, simulation)
    transport = NativeTransport(simulation)
    if plan.config.memory == "sdram":
        load_memory(Driver(transport, patience=600.0), plan.images()[0])
    return transport


def _say(text):
    print(f"celosia: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _write_json(path, value):
    with new_file(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=2) + "\n")
