"""Which codes a model's matrices have while it is trained: those that the machine will hold."""

import numpy as np
import torch

from celosia.reference.operations import Experts, Linear
from celosia.reference.quantization.coded import Coded
from celosia.reference.quantization.digits import DIGITS

__all__ = ["Rounding", "ternary_rows"]


def ternary_rows(weight, name="weight"):
    """Each row as -s, 0 and s, ``s`` its mean magnitude: a :class:`Coded`.

    After Ma and others, arXiv 2402.17764, with a scale for each row.
    """
    scale = np.abs(weight).mean(axis=1, dtype=np.float64).astype(np.float32)[:, None]
    codes = np.clip(np.rint(weight / np.where(scale > 0, scale, np.float32(1.0))), -1, 1)
    return _of_rows(codes, scale, name)


def digit_rows(weight, name="weight"):
    """Each row in the steps of a table of ternary digits: a :class:`Coded`."""
    most = (3**DIGITS - 1) // 2
    scale = (np.abs(weight).max(axis=1) / np.float32(most))[:, None]
    return _of_rows(np.rint(weight / np.where(scale > 0, scale, np.float32(1.0))), scale, name)


def _of_rows(codes, scale, name):
    return Coded(codes.astype(np.int8), np.zeros(codes.shape[1], np.int64), scale, None, name)


class Rounding:
    """The codes of every matrix and table of a description.

    Parameters
    ----------
    description : Description
    scheme : Scheme
        The machine's, with the widths and groups of all that is not ternary.
    ternary : bool
        The layers' matrices are ternary, row by row. So is what else has 2 bits and no groups; on a
        fabric of ternary weights (``scheme.ternary``) tables are sums of digits, but not wide ones.

    Raises
    ------
    ValueError
        If the description has experts.
    """

    def __init__(self, description, scheme, ternary=False):
        self.scheme, self.ternary = scheme, ternary
        if description.find(Experts):
            raise ValueError("the operation Experts cannot be trained in codes")
        tables = {name for op in description.begin for name in (op.table, op.positions) if name}
        self.vectors = {(None, name): "x" for name in sorted(tables)}
        for layer, operations in [*enumerate(description.layers), (None, description.end)]:
            found = {op.weight: op.input for op in operations if isinstance(op, Linear)}
            self.vectors |= {(layer, name): vector for name, vector in found.items()}
        self._tables = tables
        places = {vector: scheme.places(description, vector) for vector in self.vectors.values()}
        self._columns = {key: places[vector] for key, vector in self.vectors.items()}

    def coded(self, key, weight):
        """The :class:`Coded` of ``weight`` float32[rows, columns], ``key`` its (layer, name)."""
        layer, name = key
        place = name if layer is None else f"layers.{layer}.{name}"
        width, scheme = self.scheme.weight_width, self.scheme
        if layer is None:
            width = scheme.head_width or width
            if scheme.ternary and not scheme.wide_head and name in self._tables:
                return digit_rows(weight, place)
        if self.ternary and (layer is not None or width == 2):
            return ternary_rows(weight, place)
        return Coded.of(weight, width, scheme, self._columns[key], place)

    def codes(self, tensors):
        """Those of all matrices of ``tensors`` (see :func:`celosia.training.forward.tensors_of`):
        a dict of (layer, name) to :class:`Coded`."""
        return {
            key: self.coded(key, _tensor(tensors, key).numpy(force=True)) for key in self.vectors
        }

    def rounded(self, tensors):
        """``tensors`` with rounded matrices, whose gradients pass as if they were not."""
        found = [dict(part) for part in tensors]
        for key, coded in self.codes(tensors).items():
            weight = _tensor(tensors, key)
            values = torch.from_numpy(coded.float32()).to(weight.device)
            found[_part(key)][key[1]] = values + (weight - weight.detach())  # plus 0
        return found


def _part(key):
    """Where a layer's tensors lie: the model's own come first."""
    return 0 if key[0] is None else key[0] + 1


def _tensor(tensors, key):
    return tensors[_part(key)][key[1]]
