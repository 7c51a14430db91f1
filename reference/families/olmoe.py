"""OLMoE: norms of the whole queries and keys, perhaps limits, a mixture of experts."""

from celosia.reference.families import decoder, fields, metadata, moe
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Clip

__all__ = ["FAMILY"]


def layer(c, index):
    """Llama's order; limits are behind the norms of queries and keys."""
    bias, limit = c.options.get("attention_bias", False), c.options.get("limit")
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.projections(bias, normed=True),
        *decoder.head_norms(c, whole=True),
        *(Clip(vector, limit) for vector in ("q", "k", "v") if limit),
        *decoder.rotation(c),
        decoder.attend(c, index),
        decoder.linear("a", "x", "wo", bias),
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
    moe.check("num_experts_per_tok", f.num_experts, f.num_experts_per_tok)
    switches = fields.options(
        attention_bias=f.attention_bias,
        activation=fields.activation(f.activation, "silu"),
        limit=f.clip_qkv,
        experts=f.num_experts,
        chosen=f.num_experts_per_tok,
        renormalise=f.norm_topk_prob,
    )
    return fields.common(f, options=switches)


def gguf_config(f):
    """Whether weights sum to 1 is not in the file, nor are limits: they do not, there are none."""
    moe.check("chosen", f.n_experts, f.chosen)
    switches = {"experts": f.n_experts, "chosen": f.chosen}
    return metadata.common(f, options=switches | fields.options(attention_bias=f.attention_bias))


FAMILY = Family(
    name="olmoe",
    models="OLMoE-1B-7B",
    describe=lambda c: decoder.decoder(c, lambda index: layer(c, index)),
    hugging_face=Format(
        ("OlmoeForCausalLM",),
        OlmoeFields,
        config,
        lambda c, f: decoder.llama(c, moe.names()),
        model_types=("olmoe",),
    ),
    gguf=Format(
        ("olmoe",), moe.ExpertMetadata, gguf_config, lambda c, f: decoder.gguf(c, moe.GGUF)
    ),
    checked=3,
)
