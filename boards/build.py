"""From a plan to a board's bitstream: its top's design, and what the board's flow makes of it."""

import re

from celosia.boards.link import link_of
from celosia.boards.stage import TimingError
from celosia.generators.config import ConfigError
from celosia.rtl.host.uart import line_divisor

from celosia.output import write_text

__all__ = ["BAUD", "TimingError", "build", "check", "line_rate", "with_clock", "write_design"]

BAUD = 1_000_000  # that every clock makes


def with_clock(plan, board, megahertz):
    """``plan`` for a machine that tells its host the board's clock, and finds the board's flash."""
    return plan.on_board(round(board.clock(megahertz)))


def line_rate(board, megahertz):
    """Bits per second of a board's serial line where nobody asks for others; None with USB.

    What the board's bridge carries, if its clock makes that within 2 %, else 1 million.
    """
    if link_of(board) == "usb":
        return None
    try:
        line_divisor(board.clock(megahertz), board.baud)
    except ValueError:
        return BAUD
    return board.baud


def check(config, board, megahertz, baud):
    """Refuse a clock or a line that the board cannot have with this configuration.

    Raises
    ------
    celosia.generators.config.ConfigError
        If so; the message says why.
    """
    has_usb = link_of(board) == "usb"
    if has_usb and baud is not None:
        raise ConfigError(f"baud is of a serial line, and the link of {board.name} is usb")
    try:
        if not has_usb:
            line_divisor(board.clock(megahertz), baud)
        if config.memory == "sdram":
            board.sdram_delay(megahertz)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def build(plan, board, folder, *, megahertz, baud=BAUD, seeds=1, allow_fail=False, say=print):
    """Make the bitstream in ``folder``: synthesis, placement and routing, packing.

    Of ``seeds`` placements the first that meets the clock is taken, else the fastest.

    Returns
    -------
    dict
        ``fmax_mhz``, ``clock_mhz``, ``lut``, ``ff``, ``dsp``, ``bram``, ``bitstream``, ``seed``,
        ``notes`` (sentences). Where a vendor's tool would be needed that is not there, ``fmax_mhz``
        and ``bitstream`` are None, and a note says what to run.

    Raises
    ------
    TimingError
        If no placement meets the clock and that is not allowed.
    celosia.sim.toolchain.ToolError
        If a tool is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = with_clock(plan, board, megahertz)
    write_design(board, plan.machine(), megahertz, baud, folder)
    wanted = board.clock(megahertz) / 1e6
    options = {"seeds": seeds, "allow_fail": allow_fail, "say": say}
    return {"clock_mhz": wanted, **board.flow.build(folder, wanted, **options)}


def write_design(board, machine, megahertz, baud, folder):
    """Write ``board.flow.files``: the design and its constraints, the same on every run."""
    plan = board.platform().prepare(board.top(machine, megahertz, baud), "top")
    for name in board.flow.files:
        text = plan.files[name]
        text = text if isinstance(text, str) else text.decode()
        text = re.sub(r"^(#|//|/\*) Automatically generated.*\n", "", text, flags=re.MULTILINE)
        text = re.sub(r'^ *attribute \\src ".*"\n', "", text, flags=re.MULTILINE)
        if name.endswith(".il"):  # Yosys takes "x[1]" for a bit of "x" when it maps to LUTs
            text = re.sub(r"(?<=\S)\[(\d+)\]", r".\1", text)
        write_text(folder / name, text)
