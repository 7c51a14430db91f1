"""Files and folders that appear whole or not at all."""

import contextlib
import json
import os
import shutil
from pathlib import Path

__all__ = ["check_folder", "check_is_folder", "new_file", "new_folder", "new_json"]


@contextlib.contextmanager
def new_file(path):
    """The path of an empty file to write, which is renamed to ``path`` when the block ends.

    After an exception neither is left; a file that was at ``path`` stays as it was. That the folder
    can be written shows when the block begins.

    Raises
    ------
    OSError
        If the file cannot be made.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder, not a file", str(path))
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with _named(path):
        unfinished.touch(exist_ok=False)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def new_json(path):
    """A function that writes an object to ``path`` as JSON; otherwise as :func:`new_file`.

    Without a path the function does nothing.
    """
    if path is None:
        yield lambda value: None
        return
    with new_file(path) as unfinished:
        yield lambda value: unfinished.write_text(json.dumps(value, indent=2) + "\n")


def check_is_folder(path):
    """Raise an OSError if something else than a folder is at ``path``."""
    path = Path(path).absolute()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(20, "is a file, not a folder", str(path))


def check_folder(path, marker):
    """Raise the OSError with which :func:`new_folder` would refuse to replace ``path``."""
    path = Path(path).absolute()
    check_is_folder(path)
    if path.exists() and any(path.iterdir()) and not (path / marker).is_file():
        raise FileExistsError(
            17, f"holds other files (no {marker}) and is left as it is", str(path)
        )


@contextlib.contextmanager
def new_folder(path, marker):
    """The path of an empty folder to fill, which is renamed to ``path`` when the block ends.

    After an exception neither is left. What was at ``path`` is replaced if it is an empty folder,
    or one that holds a file called ``marker``, as an earlier result does.

    Raises
    ------
    OSError
        If the folder cannot be made, or ``path`` is something else.
    """
    path = Path(path).absolute()
    check_folder(path, marker)
    unfinished, old = (path.with_name(f".{path.name}.{os.getpid()}{n}") for n in ("", ".old"))
    with _named(path):
        if path.parent.is_file():
            raise NotADirectoryError(20, "Not a directory")
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
    try:
        yield unfinished
        if path.exists():
            path.rename(old)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _named(path):
    """Name ``path`` in an OSError, instead of the temporary name beside it."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
