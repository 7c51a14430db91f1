"""Granite 3: Llama with four factors."""

from celosia.reference.families import decoder, fields, llama, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Embed

__all__ = ["FAMILY"]


def describe(c):
    """Factors of the embedding, the scores, all that is added, and of the logits (divided)."""
    o = c.options
    residual, bias = o.get("residual_factor", 1.0), o.get("attention_bias", False)

    def layer(index):
        return (
            decoder.norm(c, "attention_norm"),
            *decoder.projections(bias),
            *decoder.rotation(c),
            decoder.attend(c, index, o.get("score_factor", 1.0)),
            decoder.linear("a", "x", "wo", bias, residual),
            decoder.norm(c, "ffn_norm"),
            *decoder.gated_mlp(
                o.get("activation", "silu"), o.get("mlp_bias", False), factor=residual
            ),
        )

    begin = (Embed("x", "embedding", o.get("embedding_factor", 1.0)),)
    end = (decoder.norm(c, "norm"), decoder.head(c, factor=1 / o.get("logits_divisor", 1.0)))
    return decoder.decoder(c, layer, begin, end)


class GraniteFields(llama.LlamaFields, kw_only=True):
    """Granite's."""

    quantization_config: dict | None = None
    embedding_multiplier: fields.Number = 1.0
    attention_multiplier: fields.Number = 1.0
    residual_multiplier: fields.Number = 1.0
    logits_scaling: fields.Number = 1.0


def factors(embedding, score, residual, logits):
    """The options, but for factors of 1."""
    values = {
        "embedding_factor": embedding,
        "score_factor": score,
        "residual_factor": residual,
        "logits_divisor": logits,
    }
    return {name: value for name, value in values.items() if value != 1}


def config(f):
    """The score's factor comes in place of ``head_dim ** -0.5``."""
    switches = fields.options(
        attention_bias=f.attention_bias,
        mlp_bias=f.mlp_bias,
        activation=fields.activation(f.activation, "silu"),
    )
    multipliers = f.embedding_multiplier, f.attention_multiplier, f.residual_multiplier
    return fields.common(f, options=switches | factors(*multipliers, f.logits_scaling))


_SCALES = {"score": "attention.scale", "embedding": "embedding_scale", "residual": "residual_scale"}


class GraniteMetadata(
    metadata.Metadata, kw_only=True, rename=metadata.NAMES | _SCALES | {"logits": "logit_scale"}
):
    """Granite's."""

    score: fields.Number | None = None
    embedding: fields.Number = 1.0
    residual: fields.Number = 1.0
    logits: fields.Number = 1.0


def gguf_config(f):
    """As in config.json."""
    given = metadata.common(f)
    score = f.score or given["head_dim"] ** -0.5
    switches = fields.options(attention_bias=f.attention_bias, mlp_bias=f.mlp_bias)
    return given | {"options": switches | factors(f.embedding, score, f.residual, f.logits)}


FAMILY = Family(
    name="granite",
    models="Granite 3",
    describe=describe,
    hugging_face=Format(
        ("GraniteForCausalLM",),
        GraniteFields,
        config,
        lambda c, f: decoder.llama(c),
        model_types=("granite",),
    ),
    gguf=Format(
        ("granite",), GraniteMetadata, gguf_config, lambda c, f: decoder.gguf(c, interleaved=True)
    ),
    checked=3,
)
