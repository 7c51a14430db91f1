"""Granite 3: Llama with four factors."""

from celosia.reference.families import decoder, fields, llama, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Embed

__all__ = ["FAMILY"]


def layer(c, index):
    """Llama's, with factors of the scores and of all that is added."""
    o = c.options
    factor, bias = o.get("residual_factor", 1.0), o.get("attention_bias", False)
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.attention(c, index, scale=o.get("score_factor", 1.0)),
        decoder.linear("a", "x", "wo", bias, factor),
        decoder.norm(c, "ffn_norm"),
        *decoder.gated_mlp(c, bias=o.get("mlp_bias", False), factor=factor),
    )


def describe(c):
    """Factors of the embedding and of the logits (divided)."""
    o = c.options
    begin = (Embed("x", "embedding", o.get("embedding_factor", 1.0)),)
    end = (decoder.norm(c, "norm"), decoder.head(c, factor=1 / o.get("logits_divisor", 1.0)))
    return decoder.decoder(c, layer, begin, end)


_MULTIPLIERS = {
    "embedding_factor": "embedding_multiplier",
    "score_factor": "attention_multiplier",
    "residual_factor": "residual_multiplier",
    "logits_divisor": "logits_scaling",
}


class GraniteFields(llama.LlamaFields, kw_only=True, rename=fields.NAMES | _MULTIPLIERS):
    """Granite's: the score's factor comes in place of ``head_dim ** -0.5``."""

    quantization_config: dict | None = None
    embedding_factor: fields.Number = 1.0
    score_factor: fields.Number = 1.0
    residual_factor: fields.Number = 1.0
    logits_divisor: fields.Number = 1.0


_SCALES = ("embedding_scale", "attention.scale", "residual_scale", "logit_scale")


class GraniteMetadata(
    metadata.Metadata,
    kw_only=True,
    rename=metadata.NAMES | dict(zip(_MULTIPLIERS, _SCALES, strict=True)),
):
    """Granite's."""

    embedding_factor: fields.Number = 1.0
    score_factor: fields.Number | None = None
    residual_factor: fields.Number = 1.0
    logits_divisor: fields.Number = 1.0


def factors(f):
    """The options, but for factors of 1."""
    values = {name: getattr(f, name) for name in _MULTIPLIERS}
    return {name: value for name, value in values.items() if value != 1}


def gguf_config(f):
    """A score's factor that is not in the file is ``head_dim ** -0.5``."""
    usual = (f.head_dim or f.dim // f.n_heads) ** -0.5
    return llama.gguf_config(f, **factors(f) | {"score_factor": f.score_factor or usual})


FAMILY = Family(
    name="granite",
    models="Granite 3",
    describe=describe,
    hugging_face=Format(
        ("GraniteForCausalLM",),
        GraniteFields,
        lambda f: fields.common(f, **factors(f)),
        decoder.llama,
    ),
    gguf=Format(("granite",), GraniteMetadata, gguf_config, decoder.gguf_llama),
    checked=3,
)
