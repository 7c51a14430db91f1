"""The state of a training that is under way, in the cache."""

import contextlib
import hashlib
import shutil
import time

import torch

from celosia.sim.cache import under_way

__all__ = ["kept"]

SECONDS = 30  # between two states


@contextlib.contextmanager
def kept(key):
    """A function for :func:`celosia.training.distill.distill` that keeps the state now and then.

    The state of another call with the same ``key`` (str) that did not come to its end is found; at
    the end of the context it is removed.
    """
    folder = under_way(f"tune-{hashlib.sha256(key.encode()).hexdigest()[:32]}")
    path, part, latest = folder / "state.pt", folder / "part.pt", time.monotonic()

    def keep(state):
        nonlocal latest
        if state is None:
            return torch.load(path) if path.exists() else None
        if time.monotonic() > latest + SECONDS:
            torch.save(state, part)
            part.replace(path)
            latest = time.monotonic()
        return None

    try:
        yield keep
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing was kept
