"""Qwen3: Llama with an RMSNorm of each query and key head, and windows in some layers."""

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.families.qwen2 import Qwen2Fields, layer_windows

__all__ = ["FAMILY", "attention"]


def attention(c, index):
    """Attention of normed queries and keys onto the stream, and the norm behind."""
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.attention(c, index, heads=decoder.head_norm),
        decoder.linear("a", "x", "wo", c.options.get("attention_bias", False)),
        decoder.norm(c, "ffn_norm"),
    )


def layer(c, index):
    """Llama's order."""
    return *attention(c, index), *decoder.gated_mlp(c)


class Qwen3Fields(Qwen2Fields, kw_only=True):
    """Qwen3's."""

    head_dim: fields.Size | None = 128
    attention_bias: bool | None = False


def config(f):
    """The norms of heads come behind the biases, if there are any."""
    return fields.common(f, windows=layer_windows(f))


FAMILY = Family(
    name="qwen3",
    models="Qwen3 (dense)",
    describe=lambda c: decoder.decoder(c, layer),
    hugging_face=Format(("Qwen3ForCausalLM",), Qwen3Fields, config, decoder.llama),
    gguf=Format(
        ("qwen3",),
        metadata.Metadata,
        lambda f: metadata.common(f, attention_bias=f.attention_bias),
        decoder.gguf,
    ),
    checked=4,
)
