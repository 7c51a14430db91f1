"""Five ternary digits in a byte: ``sum((digit[n] + 1) * 3**n)``, 0 to 242."""

import numpy as np

__all__ = ["TRITS", "pack_trits", "packed_size", "unpack_trits"]

TRITS = 5  # in a byte
_PLACES = 3 ** np.arange(TRITS)


def packed_size(count):
    """Bytes of so many digits."""
    return -(-count // TRITS)


def pack_trits(digits):
    """uint8[words, bytes] of int8[words, digits] that are -1, 0 and 1; the last byte ends in zeros.

    Raises
    ------
    ValueError
        If one is anything else.
    """
    digits = np.asarray(digits)
    low, high = digits.min(initial=0), digits.max(initial=0)
    if low < -1 or high > 1:
        raise ValueError(f"ternary weights must be -1, 0 or 1, not {low} to {high}")
    words, count = digits.shape
    padded = np.zeros((words, packed_size(count) * TRITS), np.int64)
    padded[:, :count] = digits
    return ((padded + 1).reshape(words, -1, TRITS) @ _PLACES).astype(np.uint8)


def unpack_trits(octets, count):
    """int8[words, count], the digits of uint8[words, bytes].

    Raises
    ------
    ValueError
        If a byte is 243 or more.
    """
    octets = np.asarray(octets)
    if octets.size and octets.max() >= 3**TRITS:
        word, place = np.argwhere(octets >= 3**TRITS)[0]
        raise ValueError(
            f"byte {place} of word {word} is {octets[word, place]}: "
            "five ternary weights are 0 to 242"
        )
    found = octets[..., None].astype(np.int64) // _PLACES % 3 - 1
    return found.reshape(len(octets), -1)[:, :count].astype(np.int8)
