"""A list of measurements that goes on where an earlier run of it ended: one line of JSON each."""

import argparse
import json
from pathlib import Path

__all__ = ["begin", "read_known", "write_known"]


def begin(text, file):
    """The command line of such a bench: ``-o FILE`` and ``--check``, and what FILE holds."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("-o", type=Path, metavar="FILE", default=file)
    parser.add_argument("--check", action="store_true", help="Measure nothing.")
    arguments = parser.parse_args()
    return arguments, read_known(arguments.o)


def read_known(path):
    """``{name: measurement}``; empty without a file."""
    return json.loads(path.read_text()) if path.exists() else {}


def write_known(path, known):
    """A line for each measurement."""
    lines = (f"{json.dumps(str(name))}: {json.dumps(value)}" for name, value in known.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
