"""The codes of packed modules as a model's matrices have them, and the machine that holds them."""

import logging

import numpy as np
from celosia.reference.checkpoint.packed import Module
from celosia.reference.operations import Linear
from celosia.reference.quantization.coded import Coded

__all__ = ["codes_of", "settings_of"]

_GROUPS = (256, 128, 64, 32, 16, 8)  # of a machine


class _Rows:
    """A file whose matrices have in each row its number: which rows a family's reader takes."""

    def __init__(self, tensors):
        self._tensors, self.taken = tensors, []

    def has(self, name):
        return name in self._tensors

    def take(self, name, shape):
        self.taken.append(name)
        return np.broadcast_to(np.arange(shape[0])[:, None], shape)


def codes_of(description, names, tensors, own, layers):
    """The codes of every matrix whose rows are some of a packed module's, by layer and name.

    A warning says what is packed and has no codes here: matrices of experts.
    """
    codes, modules, used = {}, {}, set()
    parts = [(None, description.end, own)]
    parts += [(n, each, layers[n]) for n, each in enumerate(description.layers)]
    for index, operations, floats in parts:
        for op in operations:
            if not isinstance(op, Linear) or (index, op.weight) in codes:
                continue
            rows = _Rows(tensors)
            order = names.read(rows, op.weight, floats[op.weight].shape, index)
            (name, *more) = dict.fromkeys(rows.taken)
            if more or not isinstance(tensors.get(name), Module):
                continue
            if name not in modules:
                modules = {name: tensors[name].coded()}  # joined ones follow each other
            place = op.weight if index is None else f"layers.{index}.{op.weight}"
            coded = modules[name].rows(order[:, 0].astype(np.int64))
            coded = Coded(coded.codes, coded.groups, coded.scales, coded.offsets, place)
            if np.array_equal(coded.float32(), floats[op.weight]):
                codes[index, op.weight] = coded
                used.add(name)
    rest = [name for name, each in tensors.items() if isinstance(each, Module) and name not in used]
    if rest:
        text = "%s: %d packed matrices (%s, ...) are rounded anew"
        logging.getLogger(__name__).warning(text, tensors[rest[0]].path, len(rest), rest[0])
    return codes


def settings_of(packing, codes):
    """The parameters of a machine that holds the codes."""
    offsets = any(coded.offsets is not None for coded in codes.values())
    columns = [coded.codes.shape[1] for coded in codes.values()]
    size = packing.group_size
    if size < 0:
        size = 32 if offsets else 0
    if size:
        fits = [g for g in _GROUPS if not size % g and not any(n % g for n in columns)]
        size = fits[0] if fits else size
    settings = {"weight_width": packing.bits, "group_size": size}
    finer = size and packing.bits <= 4 and not any(layer is None for layer, _ in codes)
    return settings | ({"head_width": 2 * packing.bits} if finer else {})
