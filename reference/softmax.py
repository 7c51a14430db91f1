"""Softmax in blocks: exponentials relative to each block's own power of two, one sum at the end."""

import functools

import numpy as np
from celosia.reference.arithmetic import round_shift
from celosia.reference.tables import exp2_table

__all__ = ["EMPTY", "SPAN", "align", "softmax_block"]

EMPTY = -129  # the exponent of a block without a valid score: below every other
SPAN = 15  # blocks more than 2**SPAN below the largest one count as zero


def softmax_block(scores, valid):
    """``127 * 2**(score - exponent)`` for each block ``scores[..., lanes]``.

    Scores are int16 in units of 2**-8, logarithms to base 2. The exponent of a block is the
    smallest integer greater than its valid scores; powers are rounded (half up) to 0 ... 127,
    invalid ones are 0. Returns int64 powers and exponents; ``EMPTY`` where nothing is valid.
    Largest error 0.501.
    """
    scores = np.where(valid, np.asarray(scores, np.int64), -256 << 8)
    exponent = np.maximum(scores.max(axis=-1) >> 8, EMPTY - 1) + 1
    below = (exponent[..., None] << 8) - scores
    powers = _powers()
    return powers[np.minimum(below, len(powers) - 1)], exponent


@functools.cache
def _powers():
    """``127 * 2**(-below / 256)`` for all ``below`` with a result above 0, and for the next one."""
    below = np.arange(8 * 256 + 1)
    return round_shift(exp2_table()[below & 255], 8 + (below >> 8))


def align(powers, exponents, largest):
    """Blocks in the units of the ``largest`` exponent: shifts from 0 to SPAN, or zeroed powers."""
    shift = np.asarray(exponents, np.int64) - largest + SPAN
    return np.where((shift >= 0)[..., None], powers, 0), np.maximum(shift, 0)
