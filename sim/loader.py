"""Loads a machine's memory over its host link; what is there already is not sent again."""

import zlib

from celosia.sim.transport import DriverError

__all__ = ["load_memory"]

BLOCK = 1 << 15  # bytes between two looks at what arrived
TRIES = 4


def load_memory(driver, image, progress=lambda done, total: None):
    """Make the memory begin with ``image``, so that the machine knows that it does.

    An interrupted load goes on where it was: blocks whose checksum is right are left alone.

    Parameters
    ----------
    driver : celosia.sim.driver.Driver
    image : bytes-like
    progress : function(int, int)
        Hears how many bytes of how many are there.

    Returns
    -------
    int
        How many bytes were sent.

    Raises
    ------
    celosia.sim.driver.DriverError
        If the machine refuses, or its memory does not keep what is written.
    """
    image = bytes(image)
    sent = 0
    right = zlib.crc32(image)
    if driver.checksum(0, len(image)) != right:
        for first in range(0, len(image), BLOCK):
            sent += _load_block(driver, first, image[first : first + BLOCK])
            progress(min(first + BLOCK, len(image)), len(image))
        if driver.checksum(0, len(image)) != right:
            raise DriverError("the machine's memory changed while it was loaded")
    progress(len(image), len(image))
    return sent


def _load_block(driver, address, block):
    """Write a block until its checksum is right; how many bytes that took."""
    right = zlib.crc32(block)
    for tries in range(TRIES):
        if driver.checksum(address, len(block)) == right:
            return tries * len(block)
        driver.write(address, block)
    if driver.checksum(address, len(block)) == right:
        return TRIES * len(block)
    raise DriverError(
        f"the machine's memory does not keep what is written to it (bytes {address} to "
        f"{address + len(block) - 1}, {TRIES} times)"
    )
