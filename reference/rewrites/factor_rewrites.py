"""Rewrites of factors: of the embedding, of what is added, of the logits."""

from dataclasses import replace

import numpy as np
from celosia.reference.operations import Add, Embed, Linear, Norm
from celosia.reference.rewrites.draft import Draft, writes

__all__ = ["fold_factors"]


def fold_factors(model):
    """Factors become part of weights, gains and biases.

    Those that these cannot take, as a tied head's without a gain before it, stay.
    """
    draft = Draft(model)
    changed = _ends(draft)
    for operations, tensors in draft.parts[1:-1]:
        for index, op in enumerate(operations):
            if isinstance(op, Linear) and op.factor != 1:
                operations[index] = _scaled(op, op.factor, tensors)
                changed = True
            elif isinstance(op, Add) and op.factor != 1:
                changed |= _into_maker(operations, index, tensors)
    return draft.model() if changed else model


def _scaled(op, factor, tensors):
    """The Linear ``op`` without factor, its tensors times ``factor``."""
    for name in (op.weight, op.bias):
        if name:
            tensors[name] = tensors[name] * np.float32(factor)
    return replace(op, factor=1.0)


def _into_maker(operations, index, tensors):
    """Whether the factor of the Add at ``index`` is now that of what makes its input."""
    add = operations[index]
    makers = [place for place in range(index) if add.input in writes(operations[place])]
    maker = operations[makers[-1]]
    if isinstance(maker, Norm) and maker.gain:
        for name in (maker.gain, maker.bias):
            if name:
                tensors[name] = tensors[name] * np.float32(add.factor)
    elif isinstance(maker, Linear):
        operations[makers[-1]] = _scaled(maker, maker.factor * add.factor, tensors)
    else:
        return False
    operations[index] = replace(add, factor=1.0)
    return True


def _ends(draft):
    """Fold the factors of embedding and logits; whether there were any."""
    (begin, tensors), *_, (end, _) = draft.parts
    (at, embed), *more = [(n, op) for n, op in enumerate(begin) if isinstance(op, Embed)]
    place, head = next((n, op) for n, op in enumerate(end) if isinstance(op, Linear))
    tied = head.weight == embed.table
    if more or (embed.factor == 1 and head.factor == 1):
        return False
    norm = end[place - 1] if place and isinstance(end[place - 1], Norm) else None
    if norm is None or not norm.gain:
        if tied:
            return False
        end[place] = _scaled(head, head.factor, tensors)
    else:
        factor = head.factor / (embed.factor if tied else 1)
        for name in (norm.gain, norm.bias):
            if name:
                tensors[name] = tensors[name] * np.float32(factor)
        if head.bias:
            tensors[head.bias] = tensors[head.bias] * np.float32(head.factor)
        end[place] = replace(head, factor=1.0)
    if embed.factor != 1:
        tensors[embed.table] = tensors[embed.table] * np.float32(embed.factor)
        begin[at] = replace(embed, factor=1.0)
    return True
