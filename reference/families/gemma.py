"""Gemma 1: Llama with a GELU gate, and an embedding times sqrt(dim)."""

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Embed

__all__ = ["FAMILY", "GemmaFields", "begin"]


def begin(c):
    """The embedding times ``sqrt(dim)``."""
    return (Embed("x", "embedding", c.dim**0.5),)


def layer(c, index):
    """Llama's order."""
    bias = c.options.get("attention_bias", False)
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.projections(bias),
        *decoder.rotation(c),
        decoder.attend(c, index),
        decoder.linear("a", "x", "wo", bias),
        decoder.norm(c, "ffn_norm"),
        *decoder.gated_mlp(c.options.get("activation", "gelu_tanh")),
    )


class GemmaFields(fields.Fields, kw_only=True):
    """Gemma's."""

    n_kv_heads: fields.Size | None = 16
    head_dim: fields.Size | None = 256
    activation: str | None = "gelu_pytorch_tanh"
    tied: bool | None = True
    attention_bias: bool | None = False


def config(f):
    """What Gemma calls "gelu" is GELU by tanh."""
    act = fields.activation(
        "gelu_pytorch_tanh" if f.activation == "gelu" else f.activation, "gelu_tanh"
    )
    return fields.common(f, options=fields.options(attention_bias=f.attention_bias, activation=act))


FAMILY = Family(
    name="gemma",
    models="Gemma 1",
    describe=lambda c: decoder.decoder(c, lambda index: layer(c, index), begin(c)),
    hugging_face=Format(
        ("GemmaForCausalLM",),
        GemmaFields,
        config,
        lambda c, f: decoder.llama(c, one_plus=True),
        model_types=("gemma",),
        ignored=("hidden_activation",),
    ),
    gguf=Format(("gemma",), metadata.Metadata, metadata.common, lambda c, f: decoder.gguf(c)),
    checked=3,
)
