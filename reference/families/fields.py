"""What decoders' config.json have in common, and what a ModelConfig takes of it.

Attributes have our names, and are encoded as the files spell them. Families add fields of their
own; null and absent are two things.
"""

from typing import Annotated, ClassVar

import msgspec
from celosia.reference.families.rope import Number, Rope, Size, read_rope
from celosia.reference.units.rope_scaling import LongScaling

from celosia.printable import shown

__all__ = [
    "NAMES",
    "Epsilon",
    "Fields",
    "Layers",
    "Number",
    "Rope",
    "Size",
    "activation",
    "common",
    "options",
    "refuse",
    "windows",
]

Layers = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Epsilon = Annotated[float, msgspec.Meta(ge=0, le=1)]

#: Ours for what files call an activation.
_ACTIVATIONS = {
    **dict.fromkeys(("silu", "swish"), "silu"),
    "gelu": "gelu",
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_fast"), "gelu_tanh"),
    "relu": "relu",
    "relu2": "relu2",
}


NAMES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "seq_len": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "activation": "hidden_act",
    "tied": "tie_word_embeddings",
}


class Fields(msgspec.Struct, kw_only=True, rename=NAMES):
    """config.json of most decoders, with the defaults that most have."""

    default_theta: ClassVar[float] = 10000.0
    usual_activation: ClassVar[str] = "silu"

    dim: Size
    hidden_dim: Size
    n_layers: Layers
    n_heads: Size
    vocab_size: Size
    seq_len: Size
    n_kv_heads: Size | None = None
    head_dim: Size | None = None
    norm_eps: Epsilon | None = 1e-6
    activation: str | None = None
    tied: bool | None = False
    rope_theta: Number | None = None
    partial_rotary_factor: float | None = None
    original_max_position_embeddings: Size | None = None
    rope_parameters: Rope | None = None
    rope_scaling: Rope | None = None
    quantization_config: dict | None = None


def refuse(name, text):
    """Raise the ValueError that says what is wrong with the field of our ``name``.

    Readers put the file's own name in its place.
    """
    raise ValueError(f"{name}: {text}")


def options(**given):
    """Those that are not None, False or empty."""
    return {name: value for name, value in given.items() if value not in (None, False, ())}


def activation(value, usual):
    """Our name of the files' activation ``value``, or None if it is the family's ``usual`` one."""
    ours = _ACTIVATIONS.get(value, usual if value is None else None)
    if ours is None:
        known = ", ".join(_ACTIVATIONS)
        refuse("activation", f"{shown(value)} is not supported (only {known})")
    return None if ours == usual else ours


def common(fields, partial=None, quantized=False, rope=True, **more):
    """The sizes, theta, scaling and options of config.json; ``more`` are further options.

    ``partial``: the part of each head that is rotated if the file does not say, where a family may
    rotate a part; ``quantized``: it reads ``quantization_config``; ``rope``: it has rotary
    positions. Biases and another activation than the usual one are options of every family.
    """
    if fields.quantization_config is not None and not quantized:
        refuse("quantization_config", "quantised weights are not supported")
    if not fields.head_dim and fields.dim % fields.n_heads:
        refuse("n_heads", f"{fields.n_heads} does not divide the model's dim, {fields.dim}")
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "vocab_size", "seq_len")
    values = {name: getattr(fields, name) for name in names}
    values["n_kv_heads"] = fields.n_kv_heads or fields.n_heads
    values["head_dim"] = fields.head_dim or fields.dim // fields.n_heads
    values["norm_eps"] = 1e-6 if fields.norm_eps is None else fields.norm_eps
    values["tied"] = bool(fields.tied)
    given = {name: getattr(fields, name, None) for name in ("attention_bias", "mlp_bias")}
    given["activation"] = activation(fields.activation, fields.usual_activation)
    if rope:
        theta, scaling, fraction = read_rope(fields)
        values |= {"rope_theta": theta, "rope_scaling": scaling}
        if isinstance(scaling, LongScaling):  # beyond, all positions would have other factors
            values["seq_len"] = min(fields.seq_len, scaling.original_seq_len)
        fraction = partial if fraction is None else fraction
        if partial is None and fraction not in (None, 1):
            refuse("partial_rotary_factor", "only 1 is supported")
        given["rotary_dim"] = _rotary(values["head_dim"], fraction or 1)
    return values | {"options": options(**given | more)}


def _rotary(head_dim, fraction):
    """How many values of a head are rotated, or None for all of them."""
    size = int(head_dim * fraction)
    if fraction == 1:
        return None
    if size % 2 or size not in range(2, head_dim + 1):
        refuse(
            "partial_rotary_factor",
            f"{fraction} of {head_dim} values must be an even number from 2 to {head_dim}",
        )
    return None if size == head_dim else size


def windows(fields, width, windowed):
    """Each layer's window: ``width`` in layers of whose index ``windowed`` is true, else None.

    The field ``layer_types`` of a family that has it says it instead.
    """
    types = getattr(fields, "layer_types", None)
    if types is not None:
        if len(types) < fields.n_layers:
            refuse("layer_types", f"must have {fields.n_layers} values, not {len(types)}")
        for index, value in enumerate(types):
            if value not in ("full_attention", "sliding_attention"):
                raise ValueError(f"layer_types[{index}]: {shown(value)} is not supported")
        windowed = [value == "sliding_attention" for value in types].__getitem__
    chosen = tuple(width if windowed(index) else None for index in range(fields.n_layers))
    return chosen if any(chosen) else ()
