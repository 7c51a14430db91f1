"""What we wrote into a folder, with hashes: only that is ever replaced or removed."""

import contextlib
import fnmatch
import hashlib
import json
import os
import stat
from pathlib import Path

__all__ = [
    "MANIFEST",
    "first_foreign",
    "is_unfinished",
    "read_manifest",
    "remove_ours",
    "write_manifest",
]

MANIFEST = "manifest.json"
LARGEST = 1 << 20  # bytes of a manifest
FOLDER = "folder"  # in place of a hash: a folder that a tool has made


def write_manifest(folder, made_by, *, unfinished=False):
    """Write ``folder/manifest.json``: every file there, with its SHA-256.

    All of it is on the disk then. An ``unfinished`` folder is one into which tools write.

    Parameters
    ----------
    folder : Path
    made_by : str
        The command: ``"celosia generate"``.
    unfinished : bool
    """
    files = {}
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if name == MANIFEST:
            continue
        if stat.S_ISREG(path.lstat().st_mode):
            files[name] = _digest(path, sync=True)
        else:
            files[name] = FOLDER
    text = _text({"made_by": made_by, "unfinished": unfinished, "files": files})
    beside = folder / f"{MANIFEST}.new"
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / MANIFEST)


def first_foreign(folder, made_by, patterns=()):
    """The first thing in ``folder`` that ``made_by`` did not write, as words; None without one.

    Files that were added or changed, links, and folders are foreign; so is everything where there
    is no manifest of that command.

    Parameters
    ----------
    folder : Path
    made_by : str
    patterns : iterable of str
        Names that an unfinished folder may have besides those in the manifest.
    """
    names = sorted(os.listdir(folder))
    if not names:
        return None
    manifest = read_manifest(folder)
    if manifest is None:
        foreign = next((name for name in names if name != MANIFEST), MANIFEST)
        return f"{foreign}, which {made_by} did not write"
    if manifest["made_by"] != made_by:
        return f"what {manifest['made_by']} wrote"
    files = manifest["files"]
    for name in names:
        if name == MANIFEST:
            continue
        new = manifest["unfinished"] and any(fnmatch.fnmatchcase(name, p) for p in patterns)
        if name not in files and not new:
            return f"{name}, which {made_by} did not write"
        mode = (folder / name).lstat().st_mode
        if stat.S_ISDIR(mode) and (new or files.get(name) == FOLDER):
            continue
        if not stat.S_ISREG(mode):
            return f"{name}, which is no file of {made_by}"
        if not new and _digest(folder / name) != files[name]:
            return f"{name}, which was changed since {made_by} wrote it"
    return None


def is_unfinished(folder):
    """Whether whatever wrote into ``folder`` was ended in the middle."""
    manifest = read_manifest(folder)
    return manifest is not None and manifest["unfinished"]


def remove_ours(folder):
    """Remove the files that the manifest names, then ``folder`` if that leaves it empty.

    Raises
    ------
    OSError
        If somebody else's files are there.
    """
    for name in read_manifest(folder)["files"]:
        (folder / name).unlink(missing_ok=True)
    (folder / MANIFEST).unlink()
    folder.rmdir()


def read_manifest(folder):
    """The manifest in ``folder``, a dict; None without one that is as we write it."""
    path = Path(folder) / MANIFEST
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            return None
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        if (
            isinstance(value, dict)
            and list(value) == ["made_by", "unfinished", "files"]
            and isinstance(value["made_by"], str)
            and isinstance(value["unfinished"], bool)
            and isinstance(value["files"], dict)
            and text == _text(value)
            and all("/" not in name and name not in ("", ".", "..") for name in value["files"])
        ):
            return value
    return None


def _text(manifest):
    return json.dumps(manifest, indent=2) + "\n"


def _digest(path, sync=False):
    """The file's SHA-256; with ``sync`` it is on the disk then."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
