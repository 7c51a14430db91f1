"""The cache of what tools built: an entry is whole, or it is made anew."""

import atexit
import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from celosia.cache_folder import cache_folder

__all__ = ["cached", "keep_only", "tool_home", "under_way"]

KEEP_DAYS = 14
MANIFEST = "manifest.json"
KEY = re.compile(r"([a-z0-9-]+-)?[0-9a-f]{32}")  # what keys look like, and what is never a user's
UNFINISHED = ".unfinished"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def cached(key, build):
    """The folder called `key` in the cache, filled by ``build(folder)`` if it is not there yet.

    Each entry has the hashes of its files beside them. What differs from them is made anew. A build
    that fails or is interrupted leaves nothing behind, and what a killed one leaves is in nobody's
    way; of several processes that want the same folder, one builds and the others wait. An entry
    that is there is served from a read-only place too. Entries unused for 14 days are removed,
    and nothing else in the folder is.

    Where ``CELOSIA_CACHE`` is not set and the user's cache cannot be written, entries are made in
    a temporary folder and last as long as the process.

    Raises
    ------
    OSError
        If the folder that ``CELOSIA_CACHE`` names cannot be written.
    """
    base = cache_folder()
    if base is not None and _is_whole(base / key):
        with contextlib.suppress(OSError):  # read-only
            os.utime(base / key)
        return base / key
    base = _writable_base(base)
    target = base / key
    with _lock(base / f"{key}.lock") as alone:
        if not _is_whole(target):
            _tidy(base)
            for left in base.glob(f"{key}.*{UNFINISHED}") if alone else ():
                shutil.rmtree(left, ignore_errors=True)
            _make(target, build)
    return target


def under_way(key):
    """A folder for what is begun and not done; the same at the next call, for 14 days."""
    folder = _writable_base(cache_folder()) / f"{key}.{'0' * 16}{UNFINISHED}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep_only(folder, *names):
    """Remove what a build left in ``folder`` beside the files ``names``."""
    for path in Path(folder).iterdir():
        if path.name not in names:
            path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)


def tool_home():
    """A home for tools that keep a cache of their own, or None if the user's serves."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    if os.path.isabs(base) and _can_write(Path(base) / "wasmtime"):
        return None
    own = cache_folder()
    return own / "tools" if own and _can_write(own / "tools") else _temporary() / "tools"


def _writable_base(base):
    if os.environ.get("CELOSIA_CACHE"):
        base.mkdir(parents=True, exist_ok=True)
        return base
    return base if base and _can_write(base) else _temporary()


def _can_write(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@functools.cache
def _temporary():
    """The folder of a process that has no cache; removed when it ends."""
    text = "celosia: no folder for the cache can be written: what is built is not kept"
    print(f"{text} (CELOSIA_CACHE names one)", file=sys.stderr, flush=True)
    folder = tempfile.mkdtemp(prefix="celosia-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@contextlib.contextmanager
def _lock(path):
    """Hold the lock; False where the file system has none, and a build may be done twice."""
    file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            alone = True
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            alone = False
        yield alone
    finally:
        os.close(file)


def _make(target, build):
    """Fill ``target``, which appears whole; what was there is replaced."""
    unfinished = _unfinished(target)
    unfinished.mkdir()
    try:
        build(unfinished)
        _seal(unfinished)
        if os.path.lexists(target):
            _discard(target)
        try:
            unfinished.rename(target)
        except OSError:
            if not _is_whole(target):  # made by another process where there are no locks
                raise
        _sync(target.parent)
    except OSError as error:
        if error.filename is None:  # a full disk, say
            raise OSError(error.errno, error.strerror, str(target)) from None
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(target):
    return target.with_name(f"{target.name}.{secrets.token_hex(8)}{UNFINISHED}")


def _discard(target):
    """Move a damaged entry, whatever it is, out of the way and remove it."""
    away = _unfinished(target)
    target.rename(away)
    if away.is_dir() and not away.is_symlink():
        shutil.rmtree(away, ignore_errors=True)
    else:
        away.unlink()


def _seal(folder):
    """Write the manifest: the SHA-256 of each file. All of it is on the disk afterwards."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {str(path.relative_to(folder)): _digest(path) for path in files}
    (folder / MANIFEST).write_text(json.dumps(hashes, indent=1) + "\n")
    for path in (*files, folder / MANIFEST, *{folder, *(path.parent for path in files)}):
        _sync(path)


def _sync(path):
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a folder, where those cannot be synchronised
            raise
    finally:
        os.close(file)


def _is_whole(folder):
    """Whether all files are as the manifest says."""
    try:
        hashes = json.loads((folder / MANIFEST).read_bytes())
        return isinstance(hashes, dict) and all(
            (folder / name).is_file() and _digest(folder / name) == known
            for name, known in hashes.items()
        )
    except (OSError, ValueError, RecursionError):
        return False


def _digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tidy(base):
    """Remove what is ours and nobody has used for a while."""
    oldest = time.time() - KEEP_DAYS * 24 * 3600
    for path in base.iterdir():
        key, dot, rest = path.name.partition(".")
        with contextlib.suppress(OSError, ValueError):
            if not KEY.fullmatch(key) or path.lstat().st_mtime > oldest or path.is_symlink():
                continue
            if not dot and _is_whole(path):
                _remove_entry(path)
            elif rest == "lock" and path.is_file() and not path.stat().st_size:
                path.unlink()
            elif re.fullmatch(rf"[0-9a-f]{{16}}\{UNFINISHED}", rest):
                shutil.rmtree(path, ignore_errors=True)


def _remove_entry(folder):
    """Remove an entry's own files, and its folders if nothing else is in them."""
    for name in [*json.loads((folder / MANIFEST).read_bytes()), MANIFEST]:
        (folder / name).unlink()
    for inner in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        inner.rmdir()
    folder.rmdir()
