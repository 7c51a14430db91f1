"""Files as arrays of bytes that are read when they are used."""

import numpy as np

__all__ = ["map_file"]


def map_file(path):
    """The file's bytes, uint8[size], read-only and mapped to memory; an empty file gives none."""
    if path.stat().st_size == 0:
        return np.zeros(0, np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
