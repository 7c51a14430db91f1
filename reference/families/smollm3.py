"""SmolLM3: Llama without rotary positions in some layers."""

from typing import ClassVar

import numpy as np
from celosia.reference.families import decoder, fields, llama, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.operations import Rotate

__all__ = ["FAMILY"]


def layer(c, index):
    """Llama's layer; where there is no rotation, its frequencies are 0."""
    operations = llama.layer(c, index)
    if index not in c.options.get("no_rope_layers", ()):
        return operations
    still = decoder.rotation(c, np.zeros(c.head_dim // 2))
    still = {each.vector: each for each in still}
    return tuple(still[op.vector] if isinstance(op, Rotate) else op for op in operations)


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
    switches = fields.options(
        attention_bias=f.attention_bias,
        mlp_bias=f.mlp_bias,
        activation=fields.activation(f.activation, "silu"),
        no_rope_layers=still,
        windows=chosen,
    )
    return fields.common(f, options=switches)


def gguf_config(f):
    """The layers are not in the file: every fourth."""
    given = llama.gguf_config(f)
    return given | {
        "options": given["options"] | {"no_rope_layers": tuple(range(3, f.n_layers, 4))}
    }


FAMILY = Family(
    name="smollm3",
    models="SmolLM3",
    describe=lambda c: decoder.decoder(c, lambda index: layer(c, index)),
    hugging_face=Format(
        ("SmolLM3ForCausalLM",),
        SmolLM3Fields,
        config,
        lambda c, f: decoder.llama(c),
        model_types=("smollm3",),
        ignored=("max_window_layers",),
    ),
    gguf=Format(
        ("smollm3",), metadata.Metadata, gguf_config, lambda c, f: decoder.gguf(c, interleaved=True)
    ),
    checked=3,
)
