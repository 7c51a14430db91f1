"""OLMo 2: norms behind attention and MLP only, and of the whole queries and keys."""

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Add, Copy

__all__ = ["FAMILY"]


def layer(c, index):
    """Both read the stream as it is, and add what a norm makes of their results."""
    return (
        Copy("x", "h"),
        *decoder.attention(c, index, heads=decoder.whole_norm),
        decoder.linear("a", "y", "wo", c.options.get("attention_bias", False)),
        decoder.norm(c, "attention_post_norm", "y", "z"),
        Add("z", "x"),
        Copy("x", "h"),
        *decoder.gated_mlp(c, out="y"),
        decoder.norm(c, "ffn_post_norm", "y", "z"),
        Add("z", "x"),
    )


class Olmo2Fields(fields.Fields, kw_only=True):
    """OLMo 2's."""

    norm_eps: fields.Epsilon | None = 1e-5
    attention_bias: bool | None = False


NORMS = {
    "attention_post_norm": "post_attention_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}

FAMILY = Family(
    name="olmo2",
    models="OLMo 2",
    describe=lambda c: decoder.decoder(c, layer),
    hugging_face=Format(
        ("Olmo2ForCausalLM",),
        Olmo2Fields,
        fields.common,
        lambda c, f: decoder.llama(c, changes=NORMS),
    ),
    gguf=Format(
        ("olmo2",),
        metadata.Metadata,
        lambda f: metadata.common(f, attention_bias=f.attention_bias),
        decoder.gguf,
    ),
    checked=3,
)
