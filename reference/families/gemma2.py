"""Gemma 2: norms before and behind, soft caps, windows in every second layer."""

from celosia.reference.families import decoder, fields, gemma, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Add, Cap

__all__ = ["FAMILY", "NORMS", "Gemma2Fields", "config", "describe", "layer", "score_factor"]


def layer(c, index, **more):
    """Four norms; ``more`` is said to the attention."""
    o = c.options
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.attention(c, index, scale=o.get("score_factor"), cap=o.get("score_cap"), **more),
        decoder.linear("a", "y", "wo", o.get("attention_bias", False)),
        decoder.norm(c, "attention_post_norm", "y", "z"),
        Add("z", "x"),
        decoder.norm(c, "ffn_norm"),
        *decoder.gated_mlp(c, "gelu_tanh", out="y"),
        decoder.norm(c, "ffn_post_norm", "y", "z"),
        Add("z", "x"),
    )


def describe(c, layer=layer):
    """A cap of the logits, if there is one."""
    cap = c.options.get("logit_cap")
    end = decoder.norm(c, "norm"), decoder.head(c), *((Cap("logits", cap),) if cap else ())
    return decoder.decoder(c, layer, gemma.begin(c), end)


class Gemma2Fields(
    gemma.GemmaFields, kw_only=True, rename=fields.NAMES | {"activation": "hidden_activation"}
):
    """Gemma 2's."""

    n_kv_heads: fields.Size | None = 4
    activation: str | None = None
    query_pre_attn_scalar: fields.Number = 256.0
    attn_logit_softcapping: fields.Number | None = 50.0
    final_logit_softcapping: fields.Number | None = 30.0
    sliding_window: fields.Size | None = 4096
    layer_types: list[str] | None = None


def config(f, windowed=lambda index: index % 2 == 0, **more):
    """The score's factor has its own field."""
    return fields.common(
        f,
        score_factor=f.query_pre_attn_scalar**-0.5,
        logit_cap=f.final_logit_softcapping,
        windows=fields.windows(f, f.sliding_window, windowed),
        **more,
    )


NORMS = {
    "attention_post_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}
_RENAMED = {
    "score_cap": "attn_logit_softcapping",
    "logit_cap": "final_logit_softcapping",
    "window": "attention.sliding_window",
}


class Gemma2Metadata(metadata.Metadata, kw_only=True, rename=metadata.NAMES | _RENAMED):
    """Gemma 2's."""

    score_cap: fields.Number | None = 50.0
    logit_cap: fields.Number | None = 30.0
    window: fields.Size | None = 4096


def score_factor(f, n_layers):
    """``head_dim ** -0.5``, which files do not say; 27B, told by ``n_layers``, has another."""
    return (f.dim / f.n_heads) ** -0.5 if f.n_layers == n_layers else None


def gguf_config(f):
    """The layers with windows are not in the file."""
    return metadata.common(
        f,
        score_factor=score_factor(f, 46),
        score_cap=f.score_cap,
        logit_cap=f.logit_cap,
        windows=fields.windows(f, f.window, lambda index: index % 2 == 0),
    )


FAMILY = Family(
    name="gemma2",
    models="Gemma 2",
    describe=describe,
    hugging_face=Format(
        ("Gemma2ForCausalLM",),
        Gemma2Fields,
        lambda f: config(f, score_cap=f.attn_logit_softcapping),
        lambda c, f: decoder.llama(c, changes=NORMS, one_plus=True),
    ),
    gguf=Format(("gemma2",), Gemma2Metadata, gguf_config, decoder.gguf),
    checked=3,
)
