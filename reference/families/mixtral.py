"""Mixtral: Llama with a mixture of experts in every layer, and perhaps a window."""

from typing import ClassVar

from celosia.reference.families import decoder, fields, moe
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


def layer(c, index):
    """Llama's attention, then experts."""
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.attention(c, index),
        decoder.linear("a", "x", "wo"),
        decoder.norm(c, "ffn_norm"),
        moe.experts(c),
    )


class MixtralFields(fields.Fields, kw_only=True):
    """Mixtral's."""

    default_theta: ClassVar[float] = 1e6

    norm_eps: fields.Epsilon | None = 1e-5
    n_kv_heads: fields.Size | None = 8
    num_local_experts: fields.Size = 8
    num_experts_per_tok: fields.Size = 2
    sliding_window: fields.Size | None = None


def config(f):
    """The weights of the chosen experts always sum to 1."""
    experts = moe.options("num_experts_per_tok", f.num_local_experts, f.num_experts_per_tok, True)
    windows = fields.windows(f, f.sliding_window, lambda index: True)
    return fields.common(f, windows=windows, **experts)


FAMILY = Family(
    name="mixtral",
    models="Mixtral 8x7B",
    describe=lambda c: decoder.decoder(c, layer),
    hugging_face=Format(
        ("MixtralForCausalLM",),
        MixtralFields,
        config,
        lambda c, f: decoder.llama(
            c,
            changes=moe.names("w1", "w3", "w2"),
            aliases=((r"\.block_sparse_moe\.", ".mlp."),),
        ),
        ignored=("attention_bias", "mlp_bias", "layer_types"),
    ),
    gguf=Format(
        ("llama",),
        moe.ExpertMetadata,
        moe.gguf_config(True, expert_dim="expert_dim"),
        lambda c, f: decoder.gguf(c, changes=moe.GGUF, interleaved=True),
        claims=lambda values: bool(values.get("expert_count")),
    ),
    checked=3,
)
