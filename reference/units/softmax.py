"""Softmax: of whole vectors, and in blocks relative to each block's own power of two."""

import functools
import math

import numpy as np
from celosia.reference.arithmetic import round_shift
from celosia.reference.functions.functions import reciprocal
from celosia.reference.functions.tables import exp2_table, power_table

__all__ = [
    "EMPTY",
    "SPAN",
    "TOTAL_PLACES",
    "align",
    "empty",
    "power_factor",
    "softmax",
    "softmax_block",
    "sum_fraction",
    "weighted_block",
]

EMPTY = -129  # the exponent of a block without a valid score of 16 bits: see ``empty``
SPAN = 15  # blocks more than 2**SPAN below the largest one count as zero

TOTAL_PLACES = 9  # octaves by which steps raise a block's exponent, at most

POWER_FRACTION = 14  # bits behind the point of a logarithm to base 2
OCTAVE = 3  # a sum is kept in units of 2**(8 * octave), so that it is moved by whole bytes


def softmax(x, unit, lanes, words, mask=None, width=16):
    """``exp(unit * x) / sum(exp(unit * x))`` of vectors ``x[..., n]`` in units of ``2**-width``.

    ``mask`` bool[..., n] says which elements count: the others, and all of a vector without any,
    are 0. The result, int64 from 0 to ``2**width - 1``, is rounded half up. Its error is at most
    ``0.5 + 2e-4 * y`` for a result ``y`` (0.5 more where it saturates), and what rounding
    ``unit`` to 17 bits does. The sum is built of words of ``lanes`` elements, at most ``words`` of
    them, relative to the largest octave so far.
    """
    x = np.asarray(x, np.int64)
    n = x.shape[-1]
    mask = np.ones(x.shape, bool) if mask is None else np.broadcast_to(mask, x.shape)
    pad = [(0, 0)] * (x.ndim - 1) + [(0, -n % lanes)]
    x, mask = np.pad(x, pad), np.pad(mask, pad)
    factor, shift = power_factor(unit)
    logarithm = round_shift(x * factor, shift)
    exponent = np.where(mask, logarithm >> POWER_FRACTION, -1 << 30)
    base, step = power_table()
    segment, fraction = (logarithm >> 7) & 127, logarithm & 127
    mantissa = np.where(mask, base[segment] + round_shift(step[segment] * fraction, 7), 0)

    guard, kept = lane_guard(lanes), sum_fraction(lanes, words)
    total = np.zeros(x.shape[:-1], np.int64)
    octave = np.full(x.shape[:-1], -1 << 30 >> OCTAVE)
    for word in range(0, x.shape[-1], lanes):
        e, power = exponent[..., word : word + lanes], mantissa[..., word : word + lanes]
        largest = e.max(axis=-1)
        distance = np.minimum(largest[..., None] - e, 62)
        powers = ((power << guard) >> distance).sum(axis=-1) << (kept - guard)
        before, octave = octave, np.maximum(octave, largest >> OCTAVE)
        total = total >> np.minimum((octave - before) << OCTAVE, 62)
        total = total + (powers >> np.minimum((octave << OCTAVE) + 7 - largest, 62))

    root, places = reciprocal(np.maximum(total, 1))
    top = ((octave << OCTAVE) + 7 + places + 15 - kept - width)[..., None]
    y = round_shift(mantissa * root[..., None], np.minimum(top - exponent, 62))
    return np.minimum(y, (1 << width) - 1)[..., :n]


def power_factor(unit):
    """``factor, shift`` with ``factor / 2**(shift + 14)`` hardly other than ``unit / ln(2)``."""
    _, exponent = math.frexp(unit / math.log(2))
    return round(math.ldexp(unit / math.log(2), 17 - exponent)), 17 - exponent - POWER_FRACTION


def lane_guard(lanes):
    """The bits below a word's largest power that its other powers keep beyond their own."""
    return (lanes - 1).bit_length() + 1


def sum_fraction(lanes, words):
    """The bits below an octave's mantissas that the sum of a vector keeps."""
    return max(8 + (words - 1).bit_length(), lane_guard(lanes))


def empty(whole):
    """The exponent of a block without a valid score: below those of ``whole`` integer bits."""
    return -(1 << (whole - 1)) - 1


def softmax_block(scores, valid, whole=8):
    """``127 * 2**(score - exponent)`` for each block ``scores[..., lanes]``.

    Scores are logarithms to base 2 in units of 2**-8, with ``whole`` bits before the point. The
    exponent of a block is the smallest integer greater than its valid scores; powers are rounded
    (half up) to 0 ... 127, invalid ones are 0. Returns int64 powers and exponents, ``empty(whole)``
    where nothing is valid. Largest error 0.501.
    """
    least = empty(whole) - 1
    scores = np.where(valid, np.asarray(scores, np.int64), 2 * least << 8)
    exponent = np.maximum(scores.max(axis=-1) >> 8, least) + 1
    below = (exponent[..., None] << 8) - scores
    powers = _powers()
    return powers[np.minimum(below, len(powers) - 1)], exponent


def weighted_block(scores, valid, whole=8, steps=None):
    """:func:`softmax_block`, and the sum of each block's powers in the unit of their exponent.

    With ``steps``, from 0 to 72, powers are those of ``score + step / 8``, scores of a bit more,
    and the sum is that of the powers without steps, in units of ``2**-9`` of theirs, exact.
    """
    powers, exponent = softmax_block(scores, valid, whole)
    total = powers.sum(axis=-1)
    if steps is None:
        return powers, exponent, total
    powers, raised = softmax_block(scores + (steps << 5), valid, whole + 1)
    return powers, raised, total << np.where(total, TOTAL_PLACES + exponent - raised, 0)


@functools.cache
def _powers():
    """``127 * 2**(-below / 256)`` for all ``below`` with a result above 0, and for the next one."""
    below = np.arange(8 * 256 + 1)
    return round_shift(exp2_table()[below & 255], 8 + (below >> 8))


def align(powers, exponents, largest):
    """Blocks in the units of the ``largest`` exponent: shifts from 0 to SPAN, or zeroed powers."""
    shift = np.asarray(exponents, np.int64) - largest + SPAN
    return np.where((shift >= 0)[..., None], powers, 0), np.maximum(shift, 0)
