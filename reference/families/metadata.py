"""What decoders' GGUF metadata have in common, and what a ModelConfig takes of it."""

import math

import msgspec
from celosia.reference.families.fields import Epsilon, Layers, Number, Size, options, refuse
from celosia.reference.units.rope_scaling import LinearScaling, YarnScaling

from celosia.printable import shown

__all__ = ["NAMES", "LayerNormMetadata", "Metadata", "common"]

NAMES = {
    "dim": "embedding_length",
    "hidden_dim": "feed_forward_length",
    "n_layers": "block_count",
    "n_heads": "attention.head_count",
    "n_kv_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "value_dim": "attention.value_length",
    "seq_len": "context_length",
    "norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "rotary_dim": "rope.dimension_count",
    "scaling": "rope.scaling.type",
    "scaling_factor": "rope.scaling.factor",
    "scale_linear": "rope.scale_linear",
    "original_seq_len": "rope.scaling.original_context_length",
    "attention_factor": "rope.scaling.attn_factor",
    "yarn_attention_factor": "rope.scaling.yarn_attn_factor",
    "extrapolation": "rope.scaling.yarn_ext_factor",
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
    "log_multiplier": "rope.scaling.yarn_log_multiplier",
    "n_experts": "expert_count",
}


class Metadata(msgspec.Struct, kw_only=True, rename=NAMES):
    """GGUF metadata behind the architecture's name.

    ``vocab_size``, ``tied``, ``attention_bias`` and ``mlp_bias`` are what the tensors show.
    """

    dim: Size
    hidden_dim: Size
    n_layers: Layers
    n_heads: Size
    seq_len: Size
    vocab_size: Size
    tied: bool
    attention_bias: bool
    mlp_bias: bool
    norm_eps: Epsilon
    n_kv_heads: Size | None = None
    head_dim: Size | None = None
    value_dim: Size | None = None
    rope_theta: Number = 10000.0
    rotary_dim: Size | None = None
    scaling: str = "linear"  # llama.cpp takes a factor without a type for this one
    scaling_factor: Number | None = None
    scale_linear: Number = 1.0
    original_seq_len: Size | None = None
    attention_factor: Number = 1.0
    yarn_attention_factor: Number = 1.0
    extrapolation: float = 1.0
    beta_fast: Number = 32.0
    beta_slow: Number = 1.0
    log_multiplier: float = 0.0
    n_experts: int = 0


class LayerNormMetadata(
    Metadata, kw_only=True, rename=NAMES | {"norm_eps": "attention.layer_norm_epsilon"}
):
    """Of models with LayerNorm."""

    norm_eps: Epsilon


def common(fields, partial=False, **more):
    """The sizes, theta and scaling of GGUF metadata, and the options ``more``.

    ``partial``: the family may rotate a part of each head.
    """
    if not fields.head_dim and fields.dim % fields.n_heads:
        refuse("n_heads", f"{fields.n_heads} does not divide the model's dim, {fields.dim}")
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "vocab_size", "seq_len", "norm_eps")
    values = {name: getattr(fields, name) for name in (*names, "rope_theta", "tied")}
    head_dim, size = fields.head_dim or fields.dim // fields.n_heads, fields.rotary_dim
    only = {"value_dim": (head_dim,), "n_experts": (0,), "scaling": ("none", "linear", "yarn")}
    if fields.scaling == "yarn":
        only |= {"extrapolation": (1.0, -1.0), "log_multiplier": (0.0,)}  # -1 is 1, unsaid
    if not partial:
        only["rotary_dim"] = (head_dim,)
    elif size is not None and (size % 2 or size > head_dim):
        refuse("rotary_dim", f"must be an even number up to {head_dim}, not {size}")
    if hasattr(fields, "chosen"):
        del only["n_experts"]
    for name, supported in only.items():
        if (value := getattr(fields, name)) is not None and value not in supported:
            refuse(name, f"{shown(value)} is not supported")
    factor = fields.scale_linear if fields.scaling_factor is None else fields.scaling_factor
    scaled = fields.scaling != "none" and factor != 1
    values["rope_scaling"] = LinearScaling(factor) if scaled else None
    if fields.scaling == "yarn":
        length = fields.original_seq_len or fields.seq_len
        attention = fields.attention_factor * fields.yarn_attention_factor
        attention *= 1 + 0.1 * math.log(max(factor, 1))
        betas = fields.beta_fast, fields.beta_slow
        values["rope_scaling"] = YarnScaling(factor, length, attention, *betas)
    values |= {"n_kv_heads": fields.n_kv_heads or fields.n_heads, "head_dim": head_dim}
    more["rotary_dim"] = None if size == head_dim else size
    return values | {"options": options(**more)}
