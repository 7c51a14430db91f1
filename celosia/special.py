"""Devices, pipes and open descriptors as outputs: written through, never replaced."""

import errno
import fcntl
import os
import re
import stat
import time

__all__ = ["open_special"]

PATIENCE = 2.0  # seconds that a named pipe may be without a reader


def open_special(path):
    """A descriptor to write into what is at ``path``, if that is nothing to be replaced.

    None where a regular file is, or nothing. A regular file that is the standard output or error
    already is written through, too: a new file in its place would lose what was printed.

    Raises
    ------
    OSError
        If it is a folder, a block device or a socket, cannot be written, or is a pipe that nobody
        reads.
    """
    number = _descriptor(path)
    if number is not None:
        return _duplicate(number)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        for number in (1, 2):
            if _is_open(number) and os.path.samestat(os.fstat(number), found):
                return _duplicate(number)
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file")
    if stat.S_ISCHR(found.st_mode):
        return os.open(path, os.O_WRONLY | os.O_NOCTTY)
    if stat.S_ISFIFO(found.st_mode):
        return _open_pipe(path)
    raise OSError(errno.EINVAL, "is a block device or a socket, and is not written to")


def _descriptor(path):
    """The number of this process' descriptor that ``path`` stands for (``/dev/fd/3``), or None."""
    path = os.path.abspath(path)
    for _ in range(40):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        own = re.fullmatch(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd", folder)
        if own and name.isdecimal():
            return int(name)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def _is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _duplicate(number):
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "is open for reading only")
    return os.dup(number)


def _open_pipe(path):
    """Open a named pipe for writing, if somebody reads it soon."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > deadline:
                raise OSError(errno.ENXIO, "is a pipe that nobody reads") from None
            time.sleep(0.05)
        else:
            os.set_blocking(descriptor, True)
            return descriptor
