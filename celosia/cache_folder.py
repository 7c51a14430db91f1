"""Where Celosia keeps what it built and what it fetched."""

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder():
    """``CELOSIA_CACHE``, or ``celosia`` in the user's cache: an absolute path.

    None if there is no ``CELOSIA_CACHE`` and no home. A relative ``XDG_CACHE_HOME`` counts as none,
    as its specification says: it would lie in whatever folder is the current one.
    """
    chosen = os.environ.get("CELOSIA_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "celosia" if os.path.isabs(base) else None
