"""The grid of a matrix: each group's scale and offset, by the range that loses least.

A range is narrowed by steps; each group of each row takes the step whose error, as the matrix's
results see it, is the least: ``e H e`` with the inputs' ``H``, as AWQ's search of clips does
(arXiv 2306.00978).
"""

import itertools

import numpy as np
from celosia.reference.quantization.coded import Coded

__all__ = ["CLIPS", "clipped", "output_error"]

CLIPS = tuple(1 - n / 20 for n in range(1, 10))


def output_error(error, hessian):
    """``sum(e H e)`` of the rows ``error`` float64[rows, columns]: float64[rows]."""
    return ((error @ hessian) * error).sum(axis=1)


def clipped(weight, hessian, width, scheme, columns, name):
    """``weight`` rounded to the nearest, its groups' ranges narrowed where that loses less.

    Parameters
    ----------
    weight : float32[rows, columns]
    hessian : float64[columns, columns]
        ``X.T @ X`` of the inputs, of any scale.
    width, scheme, columns, name
        As :meth:`Coded.of` takes them.

    Returns
    -------
    Coded
    """
    best = Coded.of(weight, width, scheme, columns, name)
    groups = best.groups
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    losses = _losses(best, weight, hessian, starts)
    limit = np.ones_like(losses)
    ranges = [np.abs(part).max(axis=1) for part in np.split(weight, starts[1:], axis=1)]
    low, high = (
        np.stack([f(part, axis=1) for part in np.split(weight, starts[1:], axis=1)], axis=1)
        for f in (np.min, np.max)
    )
    if best.offsets is None:
        high = np.stack(ranges, axis=1)
        low = -high
    place = np.searchsorted(starts, np.arange(len(groups)), "right") - 1
    for ratio in CLIPS:
        narrow = np.clip(weight, ratio * low[:, place], ratio * high[:, place])
        coded = Coded.of(narrow, width, scheme, columns, name)
        found = _losses(coded, weight, hessian, starts)
        better = found < losses
        losses[better], limit[better] = found[better], ratio
    narrow = np.clip(weight, (limit * low)[:, place], (limit * high)[:, place])
    return Coded.of(narrow, width, scheme, columns, name)


def _losses(coded, weight, hessian, starts):
    """Each group's error: float64[rows, groups]."""
    error = coded.float32().astype(np.float64) - weight
    bounds = [*starts, weight.shape[1]]
    parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
    return np.stack([output_error(error[:, p], hessian[p, p]) for p in parts], axis=1)
