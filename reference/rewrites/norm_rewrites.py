"""Rewrites of norms: without mean, without bias, one for two, none before another."""

from dataclasses import replace

import numpy as np
from celosia.reference.operations import Embed, Experts, Linear, Norm, Recur
from celosia.reference.rewrites.draft import Draft, reads, writes

__all__ = [
    "centre_writers",
    "fold_gain",
    "fold_gains",
    "fold_norm_biases",
    "fold_recurrent_norms",
    "join_norms",
]


NEGLIGIBLE = 1e-6  # an epsilon beside values whose mean square is 1


def centre_writers(model):
    """LayerNorm becomes RMSNorm of vectors that have the mean 0, since all that makes them has.

    A vector that anything else reads stays, and its norms. A tied head gets its own table.
    """
    draft = Draft(model)
    numbers = range(len(draft.parts))
    changed = _centre(draft, numbers, "x")
    for number in numbers[1:-1]:
        operations, _ = draft.parts[number]
        inputs = {op.input for op in operations if isinstance(op, Norm) and op.centred}
        for vector in sorted(inputs - {"x"}):
            changed |= _centre(draft, [number], vector)
    return draft.model() if changed else model


def _centre(draft, numbers, vector):
    """Whether the norms of ``vector`` in these parts have become RMSNorms."""
    every = [op for number in numbers for op in draft.parts[number][0]]
    makers = [op for op in every if vector in writes(op)]
    readers = [op for op in every if vector in reads(op) and op not in makers]
    if not readers or not all(isinstance(op, Norm) and op.centred for op in readers):
        return False
    if not all(isinstance(op, Embed | Experts | Linear) for op in makers):
        return False
    (groups,) = {op.groups for op in readers}
    for number in numbers:
        operations, tensors = draft.parts[number]
        for place, op in enumerate(operations):
            if isinstance(op, Norm) and op.input == vector:
                operations[place] = replace(op, centred=False)
            elif vector in writes(op):
                if isinstance(op, Embed):
                    _part_from_head(draft, op.table)
                for name, axis in _outputs(op):
                    tensors[name] = _centred(tensors[name], axis, groups)
    return True


def _part_from_head(draft, table):
    for place, op in enumerate(draft.parts[-1][0]):
        if isinstance(op, Linear) and op.weight == table:
            draft.own_head(place)


def _outputs(op):
    """The tensors of an operation whose sum is what it writes, and their axes of that."""
    if isinstance(op, Embed):
        return [(name, 1) for name in (op.table, op.positions) if name]
    if isinstance(op, Experts):
        return [(op.down, 1)]
    return [(name, 0) for name in (op.weight, op.bias) if name]


def _centred(array, axis, groups):
    """``array`` less its mean over each of the groups of an axis."""
    shape = array.shape
    parts = array.reshape(*shape[:axis], groups, -1, *shape[axis + 1 :]).astype(np.float64)
    parts = parts - parts.mean(axis=axis + 1, keepdims=True)
    return parts.reshape(shape).astype(np.float32)


def fold_norm_biases(model):
    """A norm's bias becomes part of the biases of the matrices that read it.

    One that anything but matrices reads stays.
    """
    draft, changed = Draft(model), False
    for number, (operations, tensors) in enumerate(draft.parts):
        for index, op in enumerate(operations):
            if not isinstance(op, Norm) or not op.bias or op.out == "x":
                continue
            readers = draft.readers(operations, index)
            if not all(isinstance(operations[place], Linear) for place in readers):
                continue
            bias, changed = tensors[op.bias].astype(np.float64), True
            for place in readers:
                weight = tensors[operations[place].weight]
                draft.add_bias(number, place, weight.astype(np.float64) @ bias)
            operations[index] = replace(op, bias=None)
    return draft.model() if changed else model


def fold_gains(model):
    """Two norms of the same values become one without gain: their gains go into the matrices."""
    draft, changed = Draft(model), False
    for operations, tensors in draft.parts:
        pair = _twins(draft, operations)
        while pair:
            for index in pair:
                fold_gain(draft, operations, tensors, index)
            first, second = pair
            out = operations[first].out
            for place in draft.readers(operations, second):
                operations[place] = replace(operations[place], input=out)
            del operations[second]
            pair, changed = _twins(draft, operations), True
    return draft.model() if changed else model


def _twins(draft, operations):
    """Places of two norms of the same values, read by matrices alone; None if there are none."""
    for first, one in enumerate(operations):
        if not isinstance(one, Norm) or one.bias:
            continue
        for second in range(first + 1, len(operations)):
            other = operations[second]
            if {one.input, one.out} & writes(other):
                break
            alike = isinstance(other, Norm) and replace(other, out=one.out, gain=one.gain) == one
            if alike and _foldable(draft, operations, first, second):
                return first, second
    return None


def _foldable(draft, operations, first, second):
    readers = [draft.readers(operations, index) for index in (first, second)]
    kinds = all(isinstance(operations[p], Linear | Experts) for each in readers for p in each)
    until = max(readers[1], default=second)
    kept = all(operations[first].out not in writes(op) for op in operations[first + 1 : until])
    return kinds and kept


def fold_gain(draft, operations, tensors, index):
    """The gain of the norm at ``index`` into the columns of what reads it."""
    op = operations[index]
    if not op.gain:
        return
    for place in draft.readers(operations, index):
        reader = operations[place]
        names = (
            (reader.router, reader.gate, reader.up)
            if isinstance(reader, Experts)
            else (reader.weight,)
        )
        for name in names:
            tensors[name] = tensors[name] * tensors[op.gain]
    operations[index] = replace(op, gain=None)


def join_norms(model):
    """RMSNorms of what one of the residual stream makes become one each, which has its gains.

    A norm takes out the root before it, where its epsilon is next to nothing; the product of the
    epsilons is left.
    """
    draft, changed = Draft(model), False
    for operations, _ in draft.parts:
        for index in reversed(range(len(operations))):
            first = operations[index]
            if not _plain(first) or first.input != "x" or not first.gain:
                continue
            readers = draft.readers(operations, index)
            if not readers or not all(_scaleless(operations[place]) for place in readers):
                continue
            for place in readers:
                op = operations[place]
                eps = op.eps * first.eps
                operations[place] = replace(op, input="x", eps=eps, weights=first.gain)
            del operations[index]
            changed = True
    return draft.model() if changed else model


def _plain(op):
    """Whether an operation is an RMSNorm of a whole vector, with no more than a gain."""
    return isinstance(op, Norm) and not (op.centred or op.bias or op.weights) and op.groups == 1


def _scaleless(op):
    """Whether it is one whose result does not depend on the scale of what it reads."""
    return _plain(op) and op.eps <= NEGLIGIBLE


def fold_recurrent_norms(model):
    """The norm of what gates a recurrent state's output is taken out by the one behind it.

    Its gains become part of the matrix.
    """
    draft, changed = Draft(model), False
    for operations, tensors in draft.parts:
        for index, op in enumerate(operations):
            if not isinstance(op, Recur) or not op.gain:
                continue
            readers = draft.readers(operations, index)
            makers = [m for m in operations[:index] if op.output in writes(m)]
            if not all(_scaleless(operations[place]) for place in readers) or not readers:
                continue
            if len(makers) != 1 or not isinstance(makers[0], Linear) or makers[0].bias:
                continue
            weight = makers[0].weight
            tensors[weight] = tensors[weight] * tensors[op.gain][:, None]
            operations[index], changed = replace(op, gain=None), True
    return draft.model() if changed else model
