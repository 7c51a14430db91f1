"""Mixtral: Llama with a mixture of experts in every layer, and perhaps a window."""

from typing import ClassVar

from celosia.reference.families import decoder, moe
from celosia.reference.families.family import Family, Format
from celosia.reference.families.fields import (
    Epsilon,
    Fields,
    Size,
    activation,
    common,
    metadata,
    options,
    windows,
)

__all__ = ["FAMILY"]


def layer(c, index):
    """Llama's attention, then experts."""
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.projections(),
        *decoder.rotation(c),
        decoder.attend(c, index),
        decoder.linear("a", "x", "wo"),
        decoder.norm(c, "ffn_norm"),
        moe.experts(c),
    )


class MixtralFields(Fields, kw_only=True):
    """Mixtral's."""

    default_theta: ClassVar[float] = 1e6

    norm_eps: Epsilon | None = 1e-5
    n_kv_heads: Size | None = 8
    num_local_experts: Size = 8
    num_experts_per_tok: Size = 2
    sliding_window: Size | None = None


def config(f):
    """The weights of the chosen experts always sum to 1."""
    moe.check("num_experts_per_tok", f.num_local_experts, f.num_experts_per_tok)
    switches = options(
        experts=f.num_local_experts,
        chosen=f.num_experts_per_tok,
        renormalise=True,
        activation=activation(f.activation, "silu"),
        windows=windows(f, f.sliding_window, lambda index: True),
    )
    return common(f, options=switches)


def gguf_config(f):
    """The architecture is Llama's, with experts."""
    moe.check("chosen", f.n_experts, f.chosen)
    switches = {"experts": f.n_experts, "chosen": f.chosen, "renormalise": True}
    return metadata(f, options=switches | options(expert_dim=f.expert_dim))


FAMILY = Family(
    name="mixtral",
    models="Mixtral 8x7B",
    describe=lambda c: decoder.decoder(c, lambda index: layer(c, index)),
    hugging_face=Format(
        ("MixtralForCausalLM",),
        MixtralFields,
        config,
        lambda c, f: decoder.llama(
            c, moe.names("w1", "w3", "w2"), aliases=((r"\.block_sparse_moe\.", ".mlp."),)
        ),
        model_types=("mixtral",),
        ignored=("attention_bias", "mlp_bias", "layer_types"),
    ),
    gguf=Format(
        ("llama",),
        moe.ExpertMetadata,
        gguf_config,
        lambda c, f: decoder.gguf(c, moe.GGUF, interleaved=True),
        claims=lambda values: bool(values.get("expert_count")),
    ),
    checked=3,
)
