"""Gemma 2: norms before and behind, soft caps, windows in every second layer."""

from celosia.reference.families import decoder, fields, gemma, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Add, Cap

__all__ = ["FAMILY", "NAMED", "NORMS", "Gemma2Fields", "describe", "layer", "options"]


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


_CAPS = {"score_cap": "attn_logit_softcapping", "logit_cap": "final_logit_softcapping"}
NAMED = fields.NAMES | _CAPS | {"activation": "hidden_activation", "window": "sliding_window"}


class Gemma2Fields(gemma.GemmaFields, kw_only=True, rename=NAMED):
    """Gemma 2's."""

    n_kv_heads: fields.Size | None = 4
    activation: str | None = None
    query_pre_attn_scalar: fields.Number = 256.0
    score_cap: fields.Number | None = 50.0
    logit_cap: fields.Number | None = 30.0
    window: fields.Size | None = 4096
    layer_types: list[str] | None = None


def options(f, largest=0, windowed=lambda index: index % 2 == 0, **more):
    """Those of both formats; ``windowed(index)`` says which layers have a window.

    GGUF files do not say the score's factor: 27B, of ``largest`` layers, has one of its own.
    """
    score_factor = (f.dim / f.n_heads) ** -0.5 if f.n_layers == largest else None
    if hasattr(f, "query_pre_attn_scalar"):
        score_factor = f.query_pre_attn_scalar**-0.5
    windows = fields.windows(f, f.window, windowed)
    caps = {"score_cap": f.score_cap, "logit_cap": f.logit_cap}
    return {"score_factor": score_factor, "windows": windows, **caps, **more}


NORMS = {
    "attention_post_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}
_METADATA = metadata.NAMES | _CAPS | {"window": "attention.sliding_window"}


class Gemma2Metadata(metadata.Metadata, kw_only=True, rename=_METADATA):
    """Gemma 2's; the layers with windows are not in the file."""

    score_cap: fields.Number | None = 50.0
    logit_cap: fields.Number | None = 30.0
    window: fields.Size | None = 4096


FAMILY = Family(
    name="gemma2",
    models="Gemma 2",
    describe=describe,
    hugging_face=Format(
        ("Gemma2ForCausalLM",),
        Gemma2Fields,
        lambda f: fields.common(f, **options(f)),
        lambda c, f: decoder.llama(c, changes=NORMS, one_plus=True),
    ),
    gguf=Format(
        ("gemma2",),
        Gemma2Metadata,
        lambda f: metadata.common(f, **options(f, 46)),
        decoder.gguf,
    ),
    checked=3,
)
