"""Gemma 3: Gemma 2 with norms of heads, two rotary bases and other windows; no cap of scores."""

from typing import ClassVar

import msgspec
from celosia.reference.families import decoder, fields, gemma2, metadata
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


def layer(c, index):
    """Layers with a window have the base ``local_theta``, unscaled."""
    frequencies = None
    if c.options.get("windows", (None,) * c.n_layers)[index]:
        frequencies = c.frequencies(c.options.get("local_theta", 1e4), scaled=False)
    return gemma2.layer(c, index, heads=decoder.head_norm, frequencies=frequencies)


class _Ropes(fields.Rope):
    """``rope_parameters``, of all layers or by their kind."""

    full_attention: fields.Rope | None = None
    sliding_attention: fields.Rope | None = None


class Gemma3Fields(gemma2.Gemma2Fields, kw_only=True, rename=gemma2.NAMED):
    """Gemma 3's. A cap of scores is read by nobody."""

    default_theta = 1e6

    logit_cap: fields.Number | None = None
    window: fields.Size = 4096
    rope_local_base_freq: fields.Number = 1e4
    rope_parameters: _Ropes | None = None
    sliding_window_pattern: fields.Size = 6
    use_bidirectional_attention: bool | None = False


def config(f):
    """Every sixth layer has no window."""
    if f.use_bidirectional_attention:
        fields.refuse("use_bidirectional_attention", "is not supported")
    ropes, local = f.rope_parameters or _Ropes(), f.rope_local_base_freq
    if ropes.full_attention is not None:
        sliding = ropes.sliding_attention or fields.Rope()
        if sliding.rope_type not in (None, "default"):
            fields.refuse("rope_parameters.sliding_attention.rope_type", "must be 'default'")
        local = sliding.rope_theta or local
        f = msgspec.structs.replace(f, rope_parameters=ropes.full_attention)
    more, every = {"local_theta": local, "score_cap": None}, f.sliding_window_pattern
    return fields.common(f, **gemma2.options(f, 0, lambda i: (i + 1) % every, **more))


_RENAMED = {
    "logit_cap": "final_logit_softcapping",
    "window": "attention.sliding_window",
    "pattern": "attention.sliding_window_pattern",
    "local_theta": "rope.freq_base_swa",
}


class Gemma3Metadata(metadata.Metadata, kw_only=True, rename=metadata.NAMES | _RENAMED):
    """Gemma 3's."""

    score_cap: ClassVar = None

    rope_theta: fields.Number = 1e6
    logit_cap: fields.Number | None = None
    window: fields.Size | None = 4096
    pattern: fields.Size | list[bool] = 6
    local_theta: fields.Number = 1e4


def gguf_config(f):
    """The pattern is a period, or says which layers have windows."""
    pattern = f.pattern
    if isinstance(pattern, list) and len(pattern) < f.n_layers:
        fields.refuse("pattern", f"must have {f.n_layers} values, not {len(pattern)}")
    windowed = pattern.__getitem__ if isinstance(pattern, list) else lambda i: (i + 1) % pattern
    return metadata.common(f, **gemma2.options(f, 62, windowed, local_theta=f.local_theta))


#: Of models that see as well, the part that writes.
_ALIASES = (
    (r"^language_model\.(?=model\.|lm_head\.)", ""),
    (r"^model\.language_model\.", "model."),
)
_IGNORED = (r"^(model\.)?(vision_tower|multi_modal_projector)\.",)

FAMILY = Family(
    name="gemma3",
    models="Gemma 3",
    describe=lambda c: gemma2.describe(c, layer),
    hugging_face=Format(
        ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
        Gemma3Fields,
        config,
        lambda c, f: decoder.llama(
            c, changes=gemma2.NORMS, one_plus=True, aliases=_ALIASES, ignored=_IGNORED
        ),
        model_types=("gemma3_text", "gemma3"),
    ),
    gguf=Format(("gemma3",), Gemma3Metadata, gguf_config, decoder.gguf),
    checked=4,
)
