"""Rotations of the residual stream (R1) and of values (R2): QuaRot, arXiv 2404.00456.

Each is an orthogonal matrix that is multiplied into the weights on both sides of a vector. The
vector's values become alike in size; the model's output stays, but for float rounding.
"""

import numpy as np
from celosia.reference.operations import Attention, Embed, Experts, Linear, Norm
from celosia.reference.rewrites.draft import Draft, reads, writes
from celosia.reference.rewrites.norm_rewrites import fold_gain
from celosia.reference.units.hadamard import hadamard_matrix

__all__ = ["orthogonal", "rotate_stream", "rotate_values", "stream_sides"]


def orthogonal(n, seed):
    """A random orthogonal matrix float64[n, n]: Hadamard's with random signs where there is one.

    Sizes without one of :func:`celosia.reference.units.hadamard.hadamard_matrix` get the Q of a
    random matrix.
    """
    generator = np.random.default_rng(seed)
    try:
        matrix = hadamard_matrix(n, 1) / np.sqrt(n)
    except ValueError:
        q, r = np.linalg.qr(generator.standard_normal((n, n)))
        return q * np.sign(np.diag(r))
    return generator.choice([-1.0, 1.0], n)[:, None] * matrix


def rotate_stream(model, seed=0, rotation=None):
    """R1: the residual stream is rotated, by ``rotation`` or a random one.

    Gains go into the matrices; a tied head becomes its own. ``model`` has the machine's form, but
    for its pairs.

    Raises
    ------
    ValueError
        If something reads or makes the stream that cannot be rotated; the message names it.
    """
    model, sides = stream_sides(model)
    if rotation is None:
        rotation = orthogonal(model.config.dim, seed)
    draft = Draft(model)
    for part, name, rows in sides:
        tensors = draft.parts[part][1]
        weight = tensors[name].astype(np.float64)
        tensors[name] = (rotation.T @ weight if rows else weight @ rotation).astype(np.float32)
    return draft.model()


def stream_sides(model):
    """The model before R1, with gains in matrices and a head of its own, and where R1 goes.

    Returns
    -------
    Model, list of (int, str, bool)
        Of each tensor its part (0 of the model's own, from 1 on layers), its name, and whether its
        outputs (``R.T @ W``) are rotated or else its columns (``W @ R``).

    Raises
    ------
    ValueError
        As :func:`rotate_stream`.
    """
    draft = Draft(model)
    places = ("the beginning", *(f"layer {n}" for n in range(len(model.layers))), "the end")
    for place, (operations, _) in zip(places, draft.parts, strict=True):
        for op in operations:
            _check_stream(op, place)
    tables = {op.table for op in draft.parts[0][0] if isinstance(op, Embed)}
    for place, op in enumerate(draft.parts[-1][0]):
        if isinstance(op, Linear) and op.weight in tables:
            draft.own_head(place)
    sides = []
    for part, (operations, tensors) in enumerate(draft.parts):
        for index, op in enumerate(operations):
            found = []
            if isinstance(op, Norm) and op.input == "x":
                found = _readers(draft, operations, tensors, index)
            elif "x" in writes(op):
                found = _made_by(op)
            sides += [(part % (len(draft.parts) - 1), *each) for each in found]
    return draft.model(), sides


def _check_stream(op, place):
    name = getattr(op, "gain", None) or getattr(op, "weight", None) or type(op).__name__
    text = None
    if "x" in writes(op) and not isinstance(op, Embed | Linear | Experts):
        text = "what it adds is no matrix's"
    elif "x" in reads(op) - writes(op) and not isinstance(op, Norm):
        text = "it reads the stream itself"
    elif isinstance(op, Norm) and op.input == "x" and (op.centred or op.bias or op.groups > 1):
        text = "it is no RMSNorm of the whole"
    if text:
        raise ValueError(f"{name} of {place}: the residual stream cannot be rotated: {text}")


def _readers(draft, operations, tensors, index):
    """What reads the norm at ``index``, whose gain they take."""
    readers = [operations[place] for place in draft.readers(operations, index)]
    if not all(isinstance(op, Linear | Experts) for op in readers):
        name = operations[index].gain or "a norm"
        raise ValueError(f"{name}: the residual stream cannot be rotated: no matrix reads it")
    fold_gain(draft, operations, tensors, index)
    found = []
    for op in readers:
        names = (op.router, op.gate, op.up) if isinstance(op, Experts) else (op.weight,)
        found += [(name, False) for name in names]
    return found


def _made_by(op):
    """The tensors of what makes the stream, or adds to it."""
    if isinstance(op, Embed):
        return [(name, False) for name in (op.table, op.positions) if name]
    if isinstance(op, Experts):
        return [(op.down, True)]
    return [(op.weight, True), *([(op.bias, False)] if op.bias else [])]


def rotate_values(model, seed=0):
    """R2: the values of each key and value head are rotated, and back by the matrix behind.

    Raises
    ------
    ValueError
        If something stands between a head's values and the matrices around; the message names it.
    """
    draft = Draft(model)
    for number, (operations, tensors) in enumerate(draft.parts[1:-1]):
        for attention in [op for op in operations if isinstance(op, Attention)]:
            maker, reader = _around(operations, attention, number)
            n, size = attention.n_kv_heads, attention.head_dim
            turns = np.stack([orthogonal(size, (seed, number, head)).T for head in range(n)])
            for name in filter(None, (maker.weight, maker.bias)):
                heads = tensors[name].astype(np.float64).reshape(n, size, -1)
                tensors[name] = _shaped(turns @ heads, tensors[name])
            columns = tensors[reader.weight].T
            heads = columns.astype(np.float64).reshape(n, attention.group, size, -1)
            tensors[reader.weight] = _shaped(turns[:, None] @ heads, columns).T.copy()
    return draft.model()


def _shaped(array, like):
    return array.reshape(like.shape).astype(np.float32)


def _around(operations, attention, number):
    """The matrices that make an attention's values and read its result."""
    makers = [op for op in operations if attention.v in writes(op)]
    readers = [op for op in operations if attention.out in reads(op)]
    between = [op for op in operations if attention.v in reads(op) and op is not attention]
    foreign = [op for op in (*makers, *readers) if not isinstance(op, Linear)] + between
    if foreign or len(makers) != 1 or len(readers) != 1:
        names = ", ".join(sorted({type(op).__name__ for op in foreign})) or "several matrices"
        raise ValueError(f"layer {number}: its heads cannot be rotated: {names} beside attention")
    return makers[0], readers[0]
