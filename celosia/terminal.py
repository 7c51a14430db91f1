"""Texts to and from a terminal, whatever its encoding, and whether or not anybody reads them."""

import errno
import io
import os
import re
import sys

__all__ = ["flush", "prepare", "reader_gone", "utf8"]


class _Output(io.RawIOBase):
    """A descriptor whose reader may go away: what is written then goes nowhere.

    Any other error is raised once, by the name of the output.
    """

    def __init__(self, descriptor, name):
        self._descriptor = descriptor
        self._name = name
        self.gone = False

    def writable(self):
        return True

    def fileno(self):
        return self._descriptor

    def isatty(self):
        return os.isatty(self._descriptor)

    def write(self, data):
        if self.gone:
            return len(data)
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            self.gone = True
            if error.errno == errno.EPIPE:
                return len(data)
            raise OSError(error.errno, error.strerror, self._name) from None


def prepare():
    """Make the standard streams safe to use: for the command line, before anything else.

    Characters that the output's encoding lacks are written as escapes. Output that nobody reads
    any more is dropped, so that a command still ends with its own status. Bytes of the input that
    are no text come as surrogates (:func:`utf8`). A COLUMNS below 20, into which no table goes,
    counts as none.
    """
    if not re.fullmatch(r"[2-9]\d|[1-9]\d{2,3}", os.environ.get("COLUMNS", "80")):
        del os.environ["COLUMNS"]
    for number in range(3):  # else the next file that is opened would be a standard stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _wrapped(sys.stdout, 1, "the standard output")
    sys.stderr = _wrapped(sys.stderr, 2, "the standard error")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")


def _wrapped(stream, number, name):
    raw = _Output(number, name)
    encoding = "utf-8" if stream is None else stream.encoding
    line_buffering = number == 2 or raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=line_buffering
    )


def flush():
    """Write what the standard streams still hold."""
    sys.stdout.flush()
    sys.stderr.flush()


def reader_gone():
    """Whether nobody reads the standard output any more."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Output) and raw.gone


def utf8(text):
    """``text`` from the command line or the standard input, which may have been bytes of any kind.

    Python gives bytes that its locale's encoding lacks as surrogates; where the bytes were UTF-8,
    this is their text.

    Raises
    ------
    ValueError
        If they were not.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"is not UTF-8: a lone surrogate at character {error.start}") from None
