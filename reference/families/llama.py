"""Llama 1 to 3, and what is like it: SmolLM2, TinyLlama; Falcon-E with ternary weights."""

from celosia.reference.families import decoder, fields, metadata, ternary
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY", "LlamaFields", "describe", "gguf_config", "layer"]


def layer(c, index, frequencies=None):
    """RMSNorm before attention and before a gated MLP, both added; rotary positions."""
    o = c.options
    bias = o.get("attention_bias", False)
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.attention(
            c, index, bias=bias or o.get("qkv_bias", False), frequencies=frequencies
        ),
        decoder.linear("a", "x", "wo", bias),
        decoder.norm(c, "ffn_norm"),
        *decoder.gated_mlp(c, bias=o.get("mlp_bias", False)),
    )


def describe(c):
    """As in :func:`layer`; RMSNorm before the head."""
    return decoder.decoder(c, layer)


class LlamaFields(fields.Fields, kw_only=True):
    """Llama's."""

    attention_bias: bool | None = False
    mlp_bias: bool | None = False
    quantization_config: ternary.Quantization | None = None


def config(f):
    """Ternary matrices have no norms of their own."""
    if ternary.check(f.quantization_config):
        raise ValueError("quantization_config.use_rms_norm: only BitNet's models have it")
    return fields.common(f, quantized=True)


def gguf_config(f, **more):
    """Biases are where the tensors are."""
    return metadata.common(f, attention_bias=f.attention_bias, mlp_bias=f.mlp_bias, **more)


FAMILY = Family(
    name="llama",
    models="Llama 1 to 3, SmolLM2, TinyLlama, Falcon-E",
    describe=describe,
    hugging_face=Format(
        ("LlamaForCausalLM",),
        LlamaFields,
        config,
        lambda c, f: ternary.names(decoder.llama(c), f),
    ),
    gguf=Format(("llama",), metadata.Metadata, gguf_config, decoder.gguf_llama),
    checked=7,
)
