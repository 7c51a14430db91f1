"""SmoothQuant: the size of activations goes, in part, into the weights (arXiv 2211.10438)."""

import numpy as np

__all__ = ["smooth_factors"]


def smooth_factors(tensors, site, largest, alpha):
    """``max|x| ** alpha / max|w| ** (1 - alpha)`` of each value: float64[n_kv_heads, head_dim].

    Parameters
    ----------
    tensors : dict of str to float32 array
    site : Site
    largest : float64[size]
        Of the inputs' magnitudes.
    alpha : float
    """
    shape, tiny = site.heads, 1e-5
    weights = np.max([np.abs(tensors[name]).max(axis=0) for name in site.readers], axis=0)
    inputs, weights = (
        np.maximum(x.astype(np.float64).reshape(shape).max(axis=1), tiny)
        for x in (largest, weights)
    )
    return np.maximum(inputs**alpha / weights ** (1 - alpha), tiny)
