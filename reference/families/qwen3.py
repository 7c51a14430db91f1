"""Qwen3: Llama with an RMSNorm of each query and key head, and windows in some layers."""

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.families.qwen2 import Qwen2Fields, layer_windows

__all__ = ["FAMILY", "attention"]


def attention(c, index, whole=False):
    """Attention of normed queries and keys onto the stream."""
    bias = c.options.get("attention_bias", False)
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.projections(bias, normed=True),
        *decoder.head_norms(c, whole),
        *decoder.rotation(c),
        decoder.attend(c, index),
        decoder.linear("a", "x", "wo", bias),
    )


def layer(c, index):
    """Llama's order."""
    return (
        *attention(c, index),
        decoder.norm(c, "ffn_norm"),
        *decoder.gated_mlp(c.options.get("activation", "silu")),
    )


class Qwen3Fields(Qwen2Fields, kw_only=True):
    """Qwen3's."""

    head_dim: fields.Size | None = 128
    attention_bias: bool | None = False


def config(f):
    """The norms of heads come behind the biases, if there are any."""
    switches = fields.options(
        attention_bias=f.attention_bias,
        windows=layer_windows(f),
        activation=fields.activation(f.activation, "silu"),
    )
    return fields.common(f, options=switches)


FAMILY = Family(
    name="qwen3",
    models="Qwen3 (dense)",
    describe=lambda c: decoder.decoder(c, lambda index: layer(c, index)),
    hugging_face=Format(
        ("Qwen3ForCausalLM",),
        Qwen3Fields,
        config,
        lambda c, f: decoder.llama(c),
        model_types=("qwen3",),
    ),
    gguf=Format(
        ("qwen3",),
        metadata.Metadata,
        lambda f: metadata.common(f, options=fields.options(attention_bias=f.attention_bias)),
        lambda c, f: decoder.gguf(c),
    ),
    checked=4,
)
