"""Qwen3-MoE: Qwen3 with a mixture of experts in most layers."""

from celosia.reference.families import decoder, fields, moe, qwen3
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


def layer(c, index):
    """Qwen3's attention; then experts, or the MLP of the ``dense_layers``."""
    dense = index in c.options.get("dense_layers", ())
    return *qwen3.attention(c, index), *(decoder.gated_mlp(c) if dense else (moe.experts(c),))


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
    listed, step = f.mlp_only_layers or (), f.decoder_sparse_step
    width = f.sliding_window if f.use_sliding_window else None
    return fields.common(
        f,
        windows=fields.windows(f, width, lambda index: True),
        expert_dim=f.moe_intermediate_size,
        dense_layers=tuple(i for i in range(f.n_layers) if i in listed or (i + 1) % step),
        **moe.options(
            "num_experts_per_tok", f.num_experts, f.num_experts_per_tok, f.norm_topk_prob
        ),
    )


FAMILY = Family(
    name="qwen3_moe",
    models="Qwen3-30B-A3B",
    describe=lambda c: decoder.decoder(c, layer),
    hugging_face=Format(
        ("Qwen3MoeForCausalLM",),
        Qwen3MoeFields,
        config,
        lambda c, f: decoder.llama(c, changes=moe.names()),
    ),
    gguf=Format(
        ("qwen3moe",),
        moe.ExpertMetadata,
        moe.gguf_config(True, expert_dim="expert_dim"),
        lambda c, f: decoder.gguf(c, changes=moe.GGUF),
    ),
    checked=3,
)
