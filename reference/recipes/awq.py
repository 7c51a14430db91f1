"""AWQ: factors that make the columns of large inputs finer, found by search (arXiv 2306.00978)."""

import numpy as np
from celosia.reference.quantization.coded import Coded
from celosia.reference.recipes.grid import output_error
from celosia.reference.rewrites.column_factors import scale_site

__all__ = ["POWERS", "awq_factors"]

POWERS = tuple(n / 10 for n in range(11))


def awq_factors(tensors, site, hessian, mean, width, scheme, columns):
    """The factors of a site with which its readers' results, rounded to the nearest, lose least.

    They are powers of the inputs' mean magnitudes, of which 0, no factors, is one.

    Parameters
    ----------
    tensors : dict of str to float32 array
    site : Site
    hessian : float64[size, size]
        ``X.T @ X`` of the inputs, of any scale.
    mean : float64[size]
        Their mean magnitudes.
    width, scheme, columns
        As :meth:`Coded.of` takes them.

    Returns
    -------
    float64[n_kv_heads, head_dim]
    """
    n, group, size = site.heads
    base = np.maximum(mean.reshape(n, group, size).mean(axis=1), 1e-8)
    best = None
    for power in POWERS:
        factors = base**power
        factors = factors / np.sqrt(factors.max() * factors.min())
        wide = np.repeat(factors[:, None], group, axis=1).reshape(-1)
        changed = scale_site(tensors, site, factors)
        loss = 0.0
        for name in site.readers:
            rounded = Coded.of(changed[name], width, scheme, columns).float32() / wide
            loss += output_error(rounded - tensors[name], hessian).sum()
        if best is None or loss < best[0]:
            best = loss, factors
    return best[1]
