"""OLMo 2: norms behind attention and MLP only, and of the whole queries and keys."""

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Add, Copy

__all__ = ["FAMILY"]


def layer(c, index):
    """Both read the stream as it is, and add what a norm makes of their results."""
    bias = c.options.get("attention_bias", False)
    return (
        Copy("x", "h"),
        *decoder.projections(bias, normed=True),
        *decoder.head_norms(c, whole=True),
        *decoder.rotation(c),
        decoder.attend(c, index),
        decoder.linear("a", "y", "wo", bias),
        decoder.norm(c, "attention_post_norm", "y", "z"),
        Add("z", "x"),
        Copy("x", "h"),
        *decoder.gated_mlp(c.options.get("activation", "silu"), out="y"),
        decoder.norm(c, "ffn_post_norm", "y", "z"),
        Add("z", "x"),
    )


class Olmo2Fields(fields.Fields, kw_only=True):
    """OLMo 2's."""

    norm_eps: fields.Epsilon | None = 1e-5
    attention_bias: bool | None = False


def config(f):
    """Biases never on the MLP."""
    switches = fields.options(
        attention_bias=f.attention_bias, activation=fields.activation(f.activation, "silu")
    )
    return fields.common(f, options=switches)


NORMS = {
    "attention_post_norm": "post_attention_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}

FAMILY = Family(
    name="olmo2",
    models="OLMo 2",
    describe=lambda c: decoder.decoder(c, lambda index: layer(c, index)),
    hugging_face=Format(
        ("Olmo2ForCausalLM",),
        Olmo2Fields,
        config,
        lambda c, f: decoder.llama(c, NORMS),
        model_types=("olmo2",),
    ),
    gguf=Format(
        ("olmo2",),
        metadata.Metadata,
        lambda f: metadata.common(f, options=fields.options(attention_bias=f.attention_bias)),
        lambda c, f: decoder.gguf(c),
    ),
    checked=3,
)
