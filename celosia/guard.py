"""How the command line ends: its exit statuses, and what is cleaned up before."""

import os
import platform
import sys
import tempfile
import traceback

from celosia import __version__, interrupt, output, process, terminal
from celosia.printable import printable

__all__ = ["BAD_INPUT", "CLOCK_MISSED", "MISMATCH", "complain", "guarded", "unexpected"]

MISMATCH, BAD_INPUT, UNEXPECTED, CLOCK_MISSED = 1, 2, 3, 4
SIGNALLED = 128  # and the signal's number
LONGEST = 200  # characters of an unexpected error's message
ENDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal hung up"}


def complain(text, longest=None):
    """Say on the standard error what is wrong; the exit status for bad input.

    With ``longest`` in one line of at most so many characters.
    """
    text = printable(text, keep="\n\t") if longest is None else printable(text, longest)
    print(f"celosia: error: {text}", file=sys.stderr)
    return BAD_INPUT


def unexpected(error):
    """Say in a line that ``error`` should not have been, write a report; the exit status."""
    said = traceback.format_exception_only(error)[-1].strip()
    words = terminal.shown(f"unexpected {said}", LONGEST)
    try:
        complain(f"{words} (the full report: {_report(error)})")
    except OSError as failed:
        complain(f"{words} (no report could be written: {failed.strerror})")
    return UNEXPECTED


def _report(error):
    """The path of a new file that says all about ``error``."""
    descriptor, path = tempfile.mkstemp(prefix="celosia-error-", suffix=".txt")
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"celosia {__version__}, Python {sys.version}, {platform.platform()}\n")
        file.write(f"{sys.argv}\n\n")
        file.writelines(traceback.format_exception(error))
    return path


def guarded(call):
    """Run the command line ``call()`` and end the process.

    Whatever happens, no tool runs on, nothing unfinished is left, and the exit status says what
    happened: see docs/commands.md.
    """
    interrupt.install(process.end_all)
    try:
        terminal.prepare()
        status = _status(call)
    except interrupt.Stopped as stopped:
        interrupt.ignore()
        status = SIGNALLED + stopped.number
        complain(ENDS[str(stopped)])
    interrupt.ignore()
    process.end_all()
    output.remove_unfinished()
    try:
        terminal.flush()
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}")
        status = status or BAD_INPUT
    interrupt.restore()
    sys.exit(status)


def _status(call):
    """The exit status of ``call()``."""
    try:
        call()
        terminal.flush()
    except SystemExit as end:
        return end.code or 0
    except OSError as error:
        return complain(f"{os.fsdecode(error.filename or '')}: {error.strerror or error}")
    except Exception as error:
        return unexpected(error)
    return 0
