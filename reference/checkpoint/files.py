"""Foreign files within bounds: whole up to a size, or mapped to memory."""

import errno
import os
import stat

import numpy as np

__all__ = ["TEXT_LIMIT", "check_file", "map_file", "read_file", "read_text"]

TEXT_LIMIT = 64 << 20  # bytes of a text to measure, calibrate or train on
_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISSOCK, "socket"),
)
_POINTER = b"version https://git-lfs"
_ARCHIVE = "is a packed archive: unpack it first"
_PICKLE = "is a pickle of PyTorch, which may run code: convert it to safetensors"
#: How files begin that are taken for weights and are none, and what they are.
_FOREIGN = {
    b"PK\x03\x04": _PICKLE,
    b"\x80\x02": _PICKLE,
    b"<!DOCTYPE": "is a page of HTML: its download failed",
    b"<html": "is a page of HTML: its download failed",
    b"tjgg": "is a GGML file from before GGUF: convert it with llama.cpp",
    b"fmgg": "is a GGML file from before GGUF: convert it with llama.cpp",
    b"lmgg": "is a GGML file from before GGUF: convert it with llama.cpp",
    b"\x89HDF": "is an HDF5 file: convert it to safetensors",
    b"\x1f\x8b\x08": _ARCHIVE,
    b"7z\xbc\xaf": _ARCHIVE,
    b"\xfd7zX": _ARCHIVE,
    b"\x28\xb5\x2f\xfd": _ARCHIVE,
}


def check_file(path):
    """Raise an OSError that names ``path`` unless a regular file is there.

    A device is refused without being opened, a pipe without being read: it might have no end, or
    nobody behind it.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISFIFO(mode):  # whoever waits to write to it goes on, and hears that nobody reads
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    for test, kind in _KINDS:
        if test(mode):
            raise OSError(errno.EINVAL, f"is a {kind}, not a file", str(path))


def read_file(path, limit):
    """The bytes of a regular file that has at most ``limit``.

    Raises
    ------
    OSError
        If it cannot be read, is larger, no file, or a Git LFS pointer.
    """
    check_file(path)
    with open(path, "rb") as file:
        data = b""
        if os.fstat(file.fileno()).st_size <= limit:
            data = file.read(limit + 1)
            if len(data) <= limit:
                _check_pointer(path, data)
                return data
    raise OSError(errno.EFBIG, f"has more than {limit >> 10:,} KiB", str(path))


def read_text(path, limit):
    """The text of a UTF-8 file: as :func:`read_file`, and a ValueError that names another one."""
    try:
        return read_file(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None


def map_file(path):
    """The bytes of a regular file of weights, uint8[size], read-only and mapped to memory.

    Raises
    ------
    OSError
        As of :func:`read_file`, but for the size; and if it is of a well-known kind without
        weights that are read.
    """
    check_file(path)
    if os.stat(path).st_size == 0:
        return np.zeros(0, np.uint8)
    data = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    first = data[: len(_POINTER)].tobytes()
    _check_pointer(path, first)
    for start, words in _FOREIGN.items():
        if first.startswith(start):
            raise OSError(errno.EINVAL, words, str(path))
    return data


def _check_pointer(path, data):
    if data.startswith(_POINTER):
        raise OSError(errno.EINVAL, "is a Git LFS pointer: bring the file with git lfs", str(path))
