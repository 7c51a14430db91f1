"""OLMoE: norms of the whole queries and keys, perhaps limits, a mixture of experts."""

from celosia.reference.families import decoder, fields, moe
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


def layer(c, index):
    """Llama's order; limits are behind the norms of queries and keys."""
    limit = c.options.get("limit")
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.attention(c, index, heads=decoder.whole_norm, limit=limit),
        decoder.linear("a", "x", "wo", c.options.get("attention_bias", False)),
        decoder.norm(c, "ffn_norm"),
        moe.experts(c),
    )


class OlmoeFields(fields.Fields, kw_only=True):
    """OLMoE's."""

    norm_eps: fields.Epsilon | None = 1e-5
    attention_bias: bool | None = False
    clip_qkv: fields.Number | None = None
    num_experts: fields.Size = 64
    num_experts_per_tok: fields.Size = 8
    norm_topk_prob: bool = False


def config(f):
    """Weights of the chosen experts sum to 1 only if the file says so."""
    counts = f.num_experts, f.num_experts_per_tok
    experts = moe.options("num_experts_per_tok", *counts, f.norm_topk_prob)
    return fields.common(f, limit=f.clip_qkv, **experts)


FAMILY = Family(
    name="olmoe",
    models="OLMoE-1B-7B",
    describe=lambda c: decoder.decoder(c, layer),
    hugging_face=Format(
        ("OlmoeForCausalLM",),
        OlmoeFields,
        config,
        lambda c, f: decoder.llama(c, changes=moe.names()),
    ),
    gguf=Format(
        ("olmoe",),
        moe.ExpertMetadata,
        moe.gguf_config(False, attention_bias="attention_bias"),
        lambda c, f: decoder.gguf(c, changes=moe.GGUF),
    ),
    checked=3,
)
