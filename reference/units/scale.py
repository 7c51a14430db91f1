"""The scaling stage: accumulators become fixed-point values, by row scales and a token's scalar."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate, wrap_shift

__all__ = ["LEAST_SHIFT", "ONE", "ROOM", "limited", "scale"]

LEAST_SHIFT = 3
ONE = 1 << 16  # the scalar mantissa that leaves a row's scale as it is
ROOM = 7  # bits of an accumulator beyond the shift: its result is below 2**ROOM factors


def scale(acc, row_scale, shift, mantissa=ONE, width=24):
    """``acc * row_scale * mantissa / 2**(16 + shift)``, saturated to ``width`` signed bits.

    ``row_scale`` is uint16 and ``mantissa`` from 0 to 2**16; their product is rounded to a factor
    of at most 16 bits. The accumulator is shifted (floor) to 27 signed bits, of which 3 or more
    lie below the result's last place, multiplied by the factor and rounded half up by 19 bits.
    ``shift`` is at least 3; lower ones count as 3.
    """
    factor = (np.asarray(row_scale, np.int64) * np.asarray(mantissa, np.int64) + (1 << 15)) >> 16
    left = np.maximum(np.asarray(shift, np.int64) - LEAST_SHIFT, 0)
    acc = np.where(left < 16, saturate(acc, 27), acc)  # what moves up saturates all the same
    aligned = saturate(wrap_shift(acc, left - 16), 27)
    return saturate(round_shift(aligned * factor, 19), width)


def limited(acc, shift):
    """Which accumulators :func:`scale` limits: bool, where one reaches 27 bits as it is shifted.

    Their results are ``2**7`` times the factor at most. Nothing else is limited at 24 bits.
    """
    acc, shift = np.asarray(acc, np.int64), np.asarray(shift, np.int64)
    room = np.clip(shift, LEAST_SHIFT, 62 - ROOM) + ROOM
    return (acc ^ (acc >> 63)) >> room != 0
