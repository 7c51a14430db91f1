"""Texts to and from a terminal, whatever its encoding, and whether or not anybody reads them."""

import os
import subprocess
import sys

import pytest

from celosia.terminal import utf8


def test_bytes_of_the_command_line():
    assert utf8("café") == "café"
    assert utf8("caf\udcc3\udca9") == "café"  # as in the locale POSIX
    with pytest.raises(ValueError, match=r"is not UTF-8: .* at byte 3"):
        utf8("caf\udce9")
    with pytest.raises(ValueError, match="lone surrogate at character 1"):
        utf8("a\ud800")


def celosia(code, **options):
    """The result of ``code`` as the command line's."""
    words = [sys.executable, "-c", f"from celosia.guard import guarded\n{code}"]
    return subprocess.run(words, capture_output=options.pop("stdout", None) is None, **options)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_characters_that_the_output_lacks(encoding):
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = celosia("guarded(lambda: print('a\\u6f22\\udcff'))", env=env)
    assert (done.returncode, done.stdout) == (0, b"a\\u6f22\\udcff\n")


@pytest.mark.parametrize(("columns", "width"), [("0", 80), ("7", 80), ("9" * 5000, 80), ("40", 40)])
def test_tables_where_there_is_no_room(columns, width):
    """Some terminals say that they are 0 characters wide."""
    code = "from rich.console import Console; guarded(lambda: Console().rule())"
    done = celosia(code, env={**os.environ, "COLUMNS": columns, "PYTHONIOENCODING": "utf-8"})
    assert len(done.stdout.decode().strip()) == width


def test_nobody_reads():
    """The command goes on to its own status."""
    code = "guarded(lambda: [print('x' * 9999, flush=True) for _ in range(99)] and exit(7))"
    words = [sys.executable, "-c", f"from celosia.guard import guarded\n{code}"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    with child.stderr:
        assert child.stderr.read() == b""
    assert child.wait() == 7


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed):
    code = "from celosia.guard import guarded; guarded(lambda: print(1))"
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code])
    assert done.returncode == 0


def test_full_output():
    code = "from celosia.guard import guarded; guarded(lambda: print(1))"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE)
    said = b"celosia: error: the standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)
