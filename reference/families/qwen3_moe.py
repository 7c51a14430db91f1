"""Qwen3-MoE: Qwen3 with a mixture of experts in most layers."""

from celosia.reference.families import decoder, fields, metadata, moe, qwen3
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


def layer(c, index):
    """Qwen3's attention; then experts, or the MLP of the ``dense_layers``."""
    dense = index in c.options.get("dense_layers", ())
    mlp = decoder.gated_mlp(c.options.get("activation", "silu")) if dense else (moe.experts(c),)
    return *qwen3.attention(c, index), decoder.norm(c, "ffn_norm"), *mlp


class Qwen3MoeFields(qwen3.Qwen3Fields, kw_only=True):
    """Qwen3-MoE's."""

    n_kv_heads: fields.Size | None = 4
    head_dim: fields.Size | None = None
    num_experts: int = 128
    num_experts_per_tok: fields.Size = 8
    moe_intermediate_size: fields.Size = 768
    norm_topk_prob: bool = False
    decoder_sparse_step: fields.Size = 1
    mlp_only_layers: list[int] | None = None


def config(f):
    """A window is that of every layer."""
    moe.check("num_experts_per_tok", f.num_experts, f.num_experts_per_tok)
    listed, step = f.mlp_only_layers or (), f.decoder_sparse_step
    width = f.sliding_window if f.use_sliding_window else None
    switches = fields.options(
        attention_bias=f.attention_bias,
        activation=fields.activation(f.activation, "silu"),
        windows=fields.windows(f, width, lambda index: True),
        experts=f.num_experts,
        chosen=f.num_experts_per_tok,
        expert_dim=f.moe_intermediate_size,
        renormalise=f.norm_topk_prob,
        dense_layers=tuple(i for i in range(f.n_layers) if i in listed or (i + 1) % step),
    )
    return fields.common(f, options=switches)


def gguf_config(f):
    """Whether weights sum to 1 is not in the file: they do."""
    moe.check("chosen", f.n_experts, f.chosen)
    switches = {"experts": f.n_experts, "chosen": f.chosen, "renormalise": True}
    return metadata.common(f, options=switches | fields.options(expert_dim=f.expert_dim))


FAMILY = Family(
    name="qwen3_moe",
    models="Qwen3-30B-A3B",
    describe=lambda c: decoder.decoder(c, lambda index: layer(c, index)),
    hugging_face=Format(
        ("Qwen3MoeForCausalLM",),
        Qwen3MoeFields,
        config,
        lambda c, f: decoder.llama(c, moe.names()),
        model_types=("qwen3_moe",),
    ),
    gguf=Format(
        ("qwen3moe",),
        moe.ExpertMetadata,
        gguf_config,
        lambda c, f: decoder.gguf(c, moe.GGUF),
    ),
    checked=3,
)
