"""Files that appear whole or not at all; devices, pipes and links stay what they are."""

import contextlib
import errno
import json
import os
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from celosia import interrupt
from celosia.special import open_special

__all__ = [
    "beside",
    "check_apart",
    "named",
    "new_file",
    "new_json",
    "new_text",
    "remove_unfinished",
    "started",
    "write_text",
]

UNFINISHED = ".celosia-"  # how the names begin of what is not finished

_unfinished = set()
_targets = set()


@contextlib.contextmanager
def new_file(path):
    """The path of an empty file to write, which becomes ``path`` when the block ends.

    After an exception neither is left; a file that was at ``path`` stays as it was. That it can be
    written shows when the block begins. Where ``path`` is a link, the file it points to is
    replaced; into a character device, a pipe or an open descriptor (``/dev/stdout``) the bytes are
    written when the block ends.

    Raises
    ------
    OSError
        If the file cannot be made, or ``path`` is a folder, a block device, a socket, a pipe that
        nobody reads, or a file that another block is about to write.
    """
    path = Path(path)
    with named(path):
        descriptor = open_special(path)
    if descriptor is None:
        with _replaced(path) as unfinished:
            yield unfinished
        return
    with _closing(path, descriptor), tempfile.TemporaryDirectory(prefix="celosia-") as folder:
        unfinished = Path(folder) / "output"
        unfinished.touch()
        yield unfinished
        if sys.stdout is not None:
            sys.stdout.flush()
        with named(path), unfinished.open("rb") as file:
            while block := file.read(1 << 16):
                while block:
                    block = block[os.write(descriptor, block) :]


@contextlib.contextmanager
def new_json(path):
    """A function that writes an object to ``path`` as JSON; otherwise as :func:`new_file`.

    Without a path the function does nothing.
    """
    with new_text(path) as write:
        yield lambda value: write(json.dumps(value, indent=2) + "\n")


@contextlib.contextmanager
def new_text(path):
    """A function that writes a text to ``path`` in UTF-8; otherwise as :func:`new_json`."""
    if path is None:
        yield lambda text: None
        return
    with new_file(path) as unfinished:

        def write(text):
            with named(path, unfinished):
                unfinished.write_text(text, encoding="utf-8")

        yield write


def write_text(path, text):
    """Write a text file, at once and in UTF-8; an OSError names it."""
    with named(path):
        Path(path).write_text(text, encoding="utf-8")


def check_apart(outputs, inputs):
    """Raise a FileExistsError if one of the files ``outputs`` is one of ``inputs``.

    An input may be a folder: then it is also what lies directly in it and is no JSON that
    could be an earlier result. None stands for nothing.
    """
    inputs = [Path(path) for path in inputs if path is not None and os.path.exists(path)]
    for output in (Path(path) for path in outputs if path is not None and os.path.isfile(path)):
        for path in inputs:
            inside = path.is_dir() and any(
                os.path.samefile(place.parent, path) and _is_read(place.name)
                for place in (output, Path(os.path.realpath(output)))
            )
            if inside or os.path.samefile(output, path):
                text = "is a file that this command reads, and is left as it is"
                raise FileExistsError(errno.EEXIST, text, str(output))


def _is_read(name):
    """Whether a model's folder may have a file of its own that is called ``name``."""
    model = ("config.json", "generation_config.json", "tokenizer", "special_tokens", "added_tokens")
    model += ("vocab", "model", "processor", "celosia")
    return not name.endswith(".json") or name.startswith(model)


def beside(path):
    """A name, not in use, for what becomes ``path`` when it is finished."""
    return path.with_name(UNFINISHED + secrets.token_hex(8))


@contextlib.contextmanager
def started(unfinished):
    """Remove ``unfinished``, a file or a folder of ours, at the end of the block if it is there."""
    _unfinished.add(unfinished)
    try:
        yield
    finally:
        with interrupt.held():
            _remove(unfinished)


def remove_unfinished():
    """Remove what is left of all that is not finished: the command ends."""
    for path in list(_unfinished):
        _remove(path)


@contextlib.contextmanager
def named(path, unfinished=None):
    """Name ``path`` in an OSError that names nothing, or something at or in ``unfinished``.

    Without ``unfinished`` in any OSError.
    """
    try:
        yield
    except OSError as error:
        name = str(path)
        if unfinished is not None and error.filename is not None:
            inner = os.path.relpath(os.fsdecode(error.filename), unfinished)
            if inner.startswith(os.pardir):
                raise
            name = os.path.normpath(os.path.join(name, inner))
        text = error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, text, name) from None


@contextlib.contextmanager
def _replaced(path):
    """As :func:`new_file`, for a regular file or none."""
    target = Path(os.path.realpath(path))
    if target in _targets:
        raise FileExistsError(errno.EEXIST, "is to be written twice", str(path))
    with contextlib.ExitStack() as stack:
        with named(path):
            if target.exists() and not os.access(target, os.W_OK):
                raise PermissionError(errno.EACCES, "Permission denied")
            unfinished = beside(target)
            stack.enter_context(started(unfinished))
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            descriptor = os.open(unfinished, flags, 0o666)
            try:
                if target.exists():
                    os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode) & 0o777)
            finally:
                os.close(descriptor)
        _targets.add(target)
        stack.callback(_targets.discard, target)
        yield unfinished
        with named(path), interrupt.held():
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(target)


@contextlib.contextmanager
def _closing(path, descriptor):
    """Close ``descriptor`` at the end; an error that shows then is one of ``path``."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    with named(path):
        os.close(descriptor)


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    _unfinished.discard(path)
