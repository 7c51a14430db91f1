"""The form of a model that the compact machine computes, and what it refuses, by name and field."""

from dataclasses import fields, replace

from celosia.reference.compact.tables import GATE_SHIFTS
from celosia.reference.operations import Attention, Embed, Gate, Linear, Norm, Rotate
from celosia.reference.rewrites.rewrites import (
    centre_writers,
    fold_factors,
    fold_gains,
    fold_norm_biases,
)

__all__ = ["check_form", "compact_form"]

KINDS = (Attention, Embed, Gate, Linear, Norm, Rotate)
PLAIN = {
    Attention: {"cap": (None,)},
    Gate: {"activation": tuple(GATE_SHIFTS)},
    Norm: {"centred": (False,), "bias": (None,)},
}


def compact_form(model, window, ternary=False):
    """``model`` as the compact machine computes it, whose attention sees ``window`` positions.

    ``ternary`` matrices stay so.

    Raises
    ------
    ValueError
        If the machine has no instructions for that; the message names operation and field.
    """
    if model.config.head_dim % 2:
        raise ValueError(f"head_dim must be a multiple of 4, not {model.config.head_dim}")
    for rewrite in (centre_writers, fold_norm_biases, fold_gains, fold_factors):
        if not (ternary and rewrite is fold_gains):
            model = rewrite(model)
    check_form(model.description, window)
    return model


def check_form(d, window):
    """Raise ``ValueError`` for a description that the machine has no instructions for."""
    for op in (*d.begin, *(op for layer in d.layers for op in layer), *d.end):
        _check(op, window)
    _check_ends(d)
    _check_norms(d)
    for index, layer in enumerate(d.layers):
        _check_alike(index, layer, d.layers[0])
    if len({op.frequencies for op in d.find(Rotate)}) > 1:
        raise ValueError("the compact machine has no rotates with different frequencies")


def _check(op, window):
    if not isinstance(op, KINDS):
        raise ValueError(f"the compact machine has no {_name(op)}")
    for field, values in PLAIN.get(type(op), {}).items():
        if getattr(op, field) not in values:
            raise _refusal(op, field)
    if isinstance(op, Attention) and op.window is not None and op.window < window:
        raise ValueError(f"window must be at most the model's own, {op.window}, not {window}")


def _check_ends(d):
    """One table makes the residual stream; a head that is this table is that alone."""
    (embed, *more), head = d.begin, d.end[-1]
    if more:
        raise ValueError(f"the compact machine has no {_name(more[0])} behind the embedding")
    if head.weight == embed.table:
        for op, field, value in (
            (embed, "factor", 1.0),
            (head, "factor", 1.0),
            (head, "bias", None),
        ):
            if getattr(op, field) != value:
                raise ValueError(f"{_refusal(op, field)} and tied weights")


def _check_norms(d):
    """Norms are of the residual stream, for matrices; or of queries and keys."""
    for layer in (*d.layers, d.end):
        heads = {name for op in layer if isinstance(op, Attention) for name in (op.q, op.k)}
        made = {op.out for op in layer if isinstance(op, Attention | Gate | Norm)} | {None}
        for op in layer:
            stream = isinstance(op, Norm) and op.input == "x"
            if isinstance(op, Norm) and (op.out == "x" or not (stream or op.out in heads)):
                raise _refusal(op, "input" if op.out != "x" else "out")
            if isinstance(op, Linear) and op.input not in made:
                raise _refusal(op, "input")


def _check_alike(index, layer, first):
    """All layers have the same instructions."""
    if [type(op) for op in layer] != [type(op) for op in first]:
        raise ValueError(
            f"layer {index} has other operations than layer 0: the compact machine's "
            "layers are alike"
        )
    for op, other in zip(layer, first, strict=True):
        free = {"scale": 1.0, "window": None} if isinstance(op, Attention) else {}
        a, b = replace(op, **free), replace(other, **free)
        for field in fields(op):
            if getattr(a, field.name) != getattr(b, field.name):
                raise ValueError(
                    f"layer {index}'s {_name(op)} has other {field.name} than layer 0's: the "
                    "compact machine's layers are alike"
                )


def _refusal(op, field):
    value = getattr(op, field)
    return ValueError(f"the compact machine has no {_name(op)} with {field} = {value!r}")


def _name(op):
    return type(op).__name__.lower()
