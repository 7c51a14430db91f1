"""GPTQ: columns are rounded one by one, and those that follow make up for the error.

The method is Frantar et al.'s (arXiv 2210.17323), with groups whose scales are fixed beforehand, in
the columns' own order: so columns can be rounded in the order of their activations, and the machine
sees no permutation.
"""

import numpy as np
from celosia.reference.quantization.coded import Coded

__all__ = ["gptq"]

BLOCK = 128  # columns between updates of all that follow


def gptq(weight, hessian, grid, width, damping=0.01, activation_order=True):
    """The codes of ``weight`` in the scales and offsets of ``grid``.

    Parameters
    ----------
    weight : float32[rows, columns]
    hessian : float64[columns, columns]
        ``X.T @ X`` of the inputs, of any scale.
    grid : Coded
        Whose codes play no part.
    width : int
    damping : float
        Added to the diagonal, as a part of its mean.
    activation_order : bool
        Columns of the largest inputs come first.

    Returns
    -------
    Coded
    """
    columns = len(hessian)
    order = np.arange(columns)
    if activation_order:
        order = np.argsort(-np.diag(hessian), kind="stable")
    upper = _inverse_root(hessian[np.ix_(order, order)], damping)
    of_columns = grid.groups[order]
    rest = weight[:, order].astype(np.float64)
    codes = np.zeros(weight.shape, np.int8)
    half = 1 << (width - 1)
    for begin in range(0, columns, BLOCK):
        end = min(begin + BLOCK, columns)
        errors = np.zeros((len(weight), end - begin))
        for place in range(begin, end):
            scale = grid.scales[:, of_columns[place]].astype(np.float64)
            base = 0.0 if grid.offsets is None else grid.offsets[:, of_columns[place]]
            column = rest[:, place]
            steps = (column - base) / np.where(scale > 0, scale, 1.0)
            code = np.clip(np.round(steps), -half, half - 1)
            codes[:, order[place]] = code
            error = (column - (code * scale + base)) / upper[place, place]
            rest[:, place:end] -= error[:, None] * upper[place, place:end]
            errors[:, place - begin] = error
        rest[:, end:] -= errors @ upper[begin:end, end:]
    return Coded(codes, grid.groups, grid.scales, grid.offsets, grid.name)


def _inverse_root(hessian, damping):
    """The upper triangle U with ``U.T @ U`` the inverse of the damped Hessian."""
    diagonal = np.diag(hessian).copy()
    mean = diagonal.mean()
    damped = hessian + (damping * mean if mean > 0 else 1.0) * np.eye(len(hessian))
    inverse = np.linalg.inv(damped)
    return np.linalg.cholesky((inverse + inverse.T) / 2).T
