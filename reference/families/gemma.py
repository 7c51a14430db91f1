"""Gemma 1: Llama with a GELU gate, and an embedding times sqrt(dim)."""

from typing import ClassVar

import msgspec
from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Embed

__all__ = ["FAMILY", "GemmaFields", "begin"]


def begin(c):
    """The embedding times ``sqrt(dim)``."""
    return (Embed("x", "embedding", c.dim**0.5),)


def layer(c, index):
    """Llama's order."""
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.attention(c, index),
        decoder.linear("a", "x", "wo", c.options.get("attention_bias", False)),
        decoder.norm(c, "ffn_norm"),
        *decoder.gated_mlp(c, "gelu_tanh"),
    )


class GemmaFields(fields.Fields, kw_only=True):
    """Gemma's."""

    usual_activation: ClassVar[str] = "gelu_tanh"

    n_kv_heads: fields.Size | None = 16
    head_dim: fields.Size | None = 256
    tied: bool | None = True
    attention_bias: bool | None = False


def config(f):
    """What Gemma calls "gelu" is GELU by tanh."""
    usual = f.activation == "gelu"
    return fields.common(msgspec.structs.replace(f, activation=None) if usual else f)


FAMILY = Family(
    name="gemma",
    models="Gemma 1",
    describe=lambda c: decoder.decoder(c, layer, begin(c)),
    hugging_face=Format(
        ("GemmaForCausalLM",),
        GemmaFields,
        config,
        lambda c, f: decoder.llama(c, one_plus=True),
        ignored=("hidden_activation",),
    ),
    gguf=Format(("gemma",), metadata.Metadata, metadata.common, decoder.gguf),
    checked=3,
)
