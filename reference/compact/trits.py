"""Five ternary digits in a byte, as the compact machine's tape has them: read by little logic."""

import numpy as np

__all__ = ["BOTH", "ESCAPE", "TRITS", "pack"]

TRITS = 5  # in a byte
ESCAPE = 3  # in the place of the first digit
BOTH = 8  # a pair's number where both digits are -1, which three bits do not hold


def pack(digits):
    """uint8[...] of int8[..., 5] that are -1, 0 and 1.

    A digit's number is 0, 1, or 2 for -1; a pair's ``3 * first + second``. Bits 0 to 1 of a byte
    are the first digit, 2 to 4 and 5 to 7 the two pairs. Where a pair is 8, :data:`ESCAPE` is in
    the first digit's place. Then the other pair is in bits 2 to 4, and in bits 5 to 7 the first
    digit, plus 3 if the first pair is the one; 6 if both are, and in bits 2 to 4 the first digit.
    """
    first, *others = np.moveaxis(np.asarray(digits).astype(np.int64) % 3, -1, 0)
    one, two = 3 * others[0] + others[1], 3 * others[2] + others[3]
    escaped = np.where(two == BOTH, one << 2 | first << 5, two << 2 | first + 3 << 5)
    escaped = np.where((one == BOTH) & (two == BOTH), first << 2 | 6 << 5, escaped)
    plain = (one < BOTH) & (two < BOTH)
    return np.where(plain, first | one << 2 | two << 5, ESCAPE | escaped).astype(np.uint8)
