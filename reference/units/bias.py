"""Biases: what a linear layer adds to its scaled results."""

import numpy as np
from celosia.reference.arithmetic import saturate

__all__ = ["BIAS_WIDTH", "bias"]

BIAS_WIDTH = 24


def bias(x, biases):
    """``saturate(x + biases, 24)``: both of 24 signed bits, in the unit of the scaled result.

    Exact where the sum fits, as every sum of two such numbers in float64 is.
    """
    return saturate(np.asarray(x, np.int64) + np.asarray(biases, np.int64), BIAS_WIDTH)
