"""Folders of results: replaced only where all that is in them is ours."""

import contextlib
import errno
import fnmatch
import os
import stat
from pathlib import Path

from celosia import interrupt
from celosia.manifest import MANIFEST, first_foreign, is_unfinished, remove_ours, write_manifest
from celosia.output import UNFINISHED, beside, named, started

__all__ = [
    "check_folder",
    "check_is_folder",
    "check_new_folder",
    "new_folder",
    "working_folder",
]


def check_is_folder(path):
    """Raise an OSError if something else than a folder is at ``path``."""
    if os.path.exists(path) and not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", str(path))
    if os.path.islink(os.path.realpath(path)):
        raise OSError(errno.ELOOP, "is a link that leads nowhere", str(path))


def check_folder(path, made_by, patterns=()):
    """Raise the OSError with which :func:`new_folder` would refuse to replace ``path``.

    It names the first thing there that ``made_by`` (:mod:`celosia.manifest`) did not write.
    """
    check_is_folder(path)
    if os.path.exists(path):
        _check_ours(Path(path), path, made_by, patterns)


def check_new_folder(path, made_by):
    """Raise the OSError with which :func:`new_folder` would begin: nothing can be made there, or
    what is there stays (:func:`check_folder`)."""
    check_folder(path, made_by)
    place = next(parent for parent in Path(os.path.realpath(path)).parents if parent.exists())
    probe = beside(place / "folder")
    with named(path), started(probe):
        probe.mkdir()


@contextlib.contextmanager
def new_folder(path, made_by):
    """The path of an empty folder to fill, which becomes ``path`` when the block ends.

    After an exception neither is left. What was at ``path`` is replaced if it is an empty folder,
    or one that holds what ``made_by`` wrote, all of it unchanged, and nothing else. Where ``path``
    is a link, all this is about the folder that it points to.

    Raises
    ------
    OSError
        If the folder cannot be made, or ``path`` is something else.
    """
    given, path = path, Path(os.path.realpath(path))
    check_folder(given, made_by)
    unfinished = beside(path)
    with _parents(path, given), started(unfinished):
        with named(given):
            unfinished.mkdir()
            if path.exists():
                unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
        with named(given, unfinished):
            yield unfinished
            write_manifest(unfinished, made_by)
        with interrupt.held():
            _swap(unfinished, path, given, made_by)


@contextlib.contextmanager
def working_folder(path, made_by, patterns):
    """A folder in which tools work, and go on where an earlier call was: ``path`` itself.

    It is made where there is none. What is in it must be of ``made_by`` and unchanged, or, where
    that was ended in the middle, have a name like one of ``patterns``.

    Raises
    ------
    OSError
        If something else is there, or the folder cannot be written.
    """
    path = Path(path)
    check_folder(path, made_by, patterns)
    with named(path):
        Path(os.path.realpath(path)).mkdir(parents=True, exist_ok=True)
    with named(path, path):
        if is_unfinished(path):
            for name in fnmatch.filter(os.listdir(path), f"{UNFINISHED}*"):
                (path / name).unlink()
        write_manifest(path, made_by, unfinished=True)
    try:
        yield path
    finally:
        with interrupt.held(), named(path, path):
            if os.listdir(path) == [MANIFEST]:  # nothing was done
                (path / MANIFEST).unlink()
            else:
                write_manifest(path, made_by)


def _check_ours(folder, given, made_by, patterns=()):
    with named(given, folder):
        foreign = first_foreign(folder, made_by, patterns)
    if foreign is not None:
        text = f"holds {foreign}; the folder is left as it is"
        raise FileExistsError(errno.EEXIST, text, str(given))


def _swap(unfinished, path, given, made_by):
    """Put ``unfinished`` in the place of ``path``; what was there comes back if that fails."""
    with named(given):
        if not path.exists() or not os.listdir(path):
            unfinished.rename(path)
            return
        old = beside(path)
        path.rename(old)
        try:
            _check_ours(old, given, made_by)
            unfinished.rename(path)
        except BaseException:
            old.rename(path)
            raise
    try:
        remove_ours(old)
    except OSError:
        text = f"got other files while it was replaced; they lie in {old}"
        raise FileExistsError(errno.EEXIST, text, str(given)) from None


@contextlib.contextmanager
def _parents(path, given):
    """Make the folders above ``path``; those of them that are empty after an error go again."""
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        with named(given):
            if path.parent.is_file():
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for parent in missing:
                parent.rmdir()
        raise
