"""SmolLM3: Llama without rotary positions in some layers."""

from typing import ClassVar

import numpy as np
from celosia.reference.families import decoder, fields, llama, metadata
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


def layer(c, index):
    """Llama's; where there is no rotation, its frequencies are 0."""
    still = index in c.options.get("no_rope_layers", ())
    return llama.layer(c, index, np.zeros(c.head_dim // 2) if still else None)


class SmolLM3Fields(llama.LlamaFields, kw_only=True):
    """SmolLM3's: 1 in ``no_rope_layers`` says that a layer has rotary positions."""

    default_theta: ClassVar[float] = 2e6

    n_kv_heads: fields.Size | None = 4
    tied: bool | None = True
    quantization_config: dict | None = None
    no_rope_layers: list[int] | None = None
    no_rope_layer_interval: fields.Size = 4
    use_sliding_window: bool | None = False
    sliding_window: fields.Size | None = None
    layer_types: list[str] | None = None


def config(f):
    """Every fourth layer has no rotary positions, or those of a list."""
    still = tuple(range(f.no_rope_layer_interval - 1, f.n_layers, f.no_rope_layer_interval))
    if f.no_rope_layers:
        if len(f.no_rope_layers) < f.n_layers:
            fields.refuse(
                "no_rope_layers", f"must have {f.n_layers} values, not {len(f.no_rope_layers)}"
            )
        still = tuple(index for index in range(f.n_layers) if not f.no_rope_layers[index])
    chosen = fields.windows(f, f.sliding_window, still.__contains__) if f.use_sliding_window else ()
    return fields.common(f, no_rope_layers=still, windows=chosen)


FAMILY = Family(
    name="smollm3",
    models="SmolLM3",
    describe=lambda c: decoder.decoder(c, layer),
    hugging_face=Format(
        ("SmolLM3ForCausalLM",),
        SmolLM3Fields,
        config,
        decoder.llama,
        ignored=("max_window_layers",),
    ),
    gguf=Format(  # the layers are not in the file: every fourth
        ("smollm3",),
        metadata.Metadata,
        lambda f: llama.gguf_config(f, no_rope_layers=tuple(range(3, f.n_layers, 4))),
        decoder.gguf_llama,
    ),
    checked=3,
)
