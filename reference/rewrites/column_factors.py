"""Factors of a vector's values, folded into the matrices on both sides: for AWQ and SmoothQuant."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.operations import Attention, Gate, Linear, Norm
from celosia.reference.rewrites.draft import reads, writes

__all__ = ["Site", "scale_site", "sites"]


@dataclass(frozen=True)
class Site:
    """A vector whose values can be made smaller where it is made, and larger where it is read.

    Parameters
    ----------
    vector : str
    makers : tuple of str
        Tensors whose rows (or gains) make it.
    readers : tuple of str
        Matrices whose columns read it.
    heads : (int, int, int)
        Its values, as ``[n_kv_heads, group, head_dim]``: those of a group of query heads have one
        factor. ``(1, 1, size)`` where each has its own.
    """

    vector: str
    makers: tuple
    readers: tuple
    heads: tuple


def sites(operations, sizes):
    """The sites of one layer, in order; ``sizes`` has the values of each vector."""
    found = []
    for index, op in enumerate(operations):
        if isinstance(op, Norm) and op.gain and op.groups == 1 and op.out != "x":
            found.append(_site(operations, index, (op.gain, op.bias), (1, 1, sizes[op.out])))
        elif isinstance(op, Gate) and op.up:
            maker = _only(operations, op.up, op)
            found.append(maker and _site(operations, index, maker, (1, 1, sizes[op.out])))
        elif isinstance(op, Attention):
            maker = _only(operations, op.v, op)
            heads = op.n_kv_heads, op.group, op.head_dim
            found.append(maker and _site(operations, index, maker, heads))
    return [site for site in found if site]


def _only(operations, vector, reader):
    """The tensors of the Linear that makes ``vector``, which ``reader`` alone reads; or None."""
    makers = [op for op in operations if vector in writes(op)]
    others = [op for op in operations if vector in reads(op) and op is not reader]
    if len(makers) == 1 and isinstance(makers[0], Linear) and not others:
        return makers[0].weight, makers[0].bias
    return None


def _site(operations, index, makers, heads):
    """The site of what the operation at ``index`` makes, if only matrices read it."""
    vector, readers = operations[index].out, []
    for op in operations[index + 1 :]:
        if vector in reads(op):
            readers.append(op)
        if vector in writes(op):
            break
    if not readers or not all(isinstance(op, Linear) for op in readers):
        return None
    names = tuple(op.weight for op in readers)
    return Site(vector, tuple(filter(None, makers)), names, heads)


def scale_site(tensors, site, factors):
    """Tensors of a layer, the vector of ``site`` divided by ``factors``; its readers undo that.

    Parameters
    ----------
    tensors : dict of str to float32 array
    site : Site
    factors : float64[n_kv_heads, head_dim]
        More than 0.

    Returns
    -------
    dict of str to float32 array
        The tensors that change.
    """
    changed = {}
    for name in site.makers:
        array = tensors[name].astype(np.float64)
        made = array / factors.reshape(-1, *[1] * (array.ndim - 1))
        changed[name] = made.astype(np.float32)
    columns = np.repeat(factors[:, None], site.heads[1], axis=1).reshape(-1)
    for name in site.readers:
        changed[name] = (tensors[name].astype(np.float64) * columns).astype(np.float32)
    return changed
