"""The commands that concern boards; those that list, program and load them are here."""

import contextlib
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from celosia.boards.build_command import build
from celosia.boards.chat_command import chat
from celosia.boards.options import REPORT, BaudOption
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from celosia import process
from celosia.printable import NAME, printable

__all__ = ["register"]


class _Config(msgspec.Struct):
    boot: str = "host"


class _Report(msgspec.Struct):
    """What of a report a board is programmed by."""

    board: str
    bitstream: str | None
    config: _Config
    notes: list[str]


def register(app):
    """Add the commands to the command line ``app``."""
    for command in (build, boards, program, load, chat):
        app.command()(command)


def boards():
    """List the boards, what they have, and how fast an embedded demo model is on each.

    Tokens per second at position 100: of a routed design, or estimated at the board's clock.
    """
    from celosia.boards.listing import listed

    table = Table()
    for name in ("board", "chip", "demo", "machine", "tokens/s"):
        table.add_column(name, no_wrap=name not in ("chip", "machine"))
    for row in listed():
        chip = "{lut:,} LUTs, {dsp:,} multiplier blocks, {bram:,} block RAMs"
        speed = "" if row.speed is None else f"{row.speed:,.0f}\n{row.source}"
        chip = chip.format(**row.board.resources)
        table.add_row(row.board.name, chip, row.demo, row.machine, speed)
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
    from celosia.sim.toolchain import ToolError, tool_environment, which

    folder = folder.absolute()
    report = _read_report(folder)
    board = find_board(report.board)
    if report.bitstream is None:
        raise ConfigError(f"{folder} holds no bitstream: {'; '.join(report.notes)}")
    bitstream = folder / board.flow.bitstream
    if not bitstream.is_file():
        raise ConfigError(f"{bitstream} is not there any more: build it anew")
    steps = [["-f" if flash else "-m", str(bitstream)]]
    if report.config.boot == "flash":
        offset = read_tape(folder)[1].flash_offset
        if offset is None:
            raise ConfigError(f"{folder}: the tape is not one for the flash memory: build it anew")
        steps += [["-f", "-o", str(offset), "--file-type", "raw", str(folder / "tape.bin")]]
    loader = which("openFPGALoader")
    if loader is None:
        raise ToolError(
            "openFPGALoader is not there: see https://trabucayre.github.io/openFPGALoader"
        )
    for step in steps:
        command = [loader, "-b", *board.loader.split(), *step]
        done = process.run(command, own_group=False, cwd="/", env=tool_environment())
        if done.returncode:
            raise ToolError(f"openFPGALoader failed ({done.returncode})")


def _read_report(folder):
    """What the build in ``folder`` said when all of it was done."""
    from celosia.generators.config import ConfigError
    from celosia.reference.checkpoint.foreign_json import read_json

    path = folder / REPORT
    try:
        return read_json(path, _Report)
    except FileNotFoundError:
        raise ConfigError(f"{folder} holds no finished build: no {REPORT} is there") from None
    except ValueError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise ConfigError(f"{path} is not what celosia build writes: {why}") from None


def load(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What celosia build made.")],
    port: Annotated[
        str, typer.Option("--port", metavar="PORT", help="As /dev/ttyUSB0, /dev/ttyACM0.")
    ],
    baud: BaudOption = None,
):
    """Load the tape into the SDRAM of a board, after `celosia program`.

    What is there already is not sent again: an interrupted load goes on where it was.
    """
    from celosia.boards.serial_port import open_board
    from celosia.boards.tape_file import read_tape

    image, record = read_tape(folder)
    with contextlib.closing(open_board(port, baud)) as transport:
        sent = load_tape(transport, image, record)
    name = printable(record.model, NAME)
    print(f"{name}: {len(image):,} bytes are in the memory, {sent:,} of them sent now")


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
    if found != record.model_hash:
        raise DriverError(
            f"the board's machine is of another model ({found}, not {record.model_hash}): "
            "program it first"
        )
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("loading", total=len(image))
        return load_memory(driver, image, lambda done, _: bar.update(task, completed=done))
