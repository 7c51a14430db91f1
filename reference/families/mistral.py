"""Mistral: Llama with a window of attention in every layer."""

from celosia.reference.families import decoder, fields, llama
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


class MistralFields(fields.Fields, kw_only=True):
    """Mistral's. The window is that of the class where the file is silent."""

    n_kv_heads: fields.Size | None = 8
    sliding_window: fields.Size | None = 4096


def config(f):
    """All layers have the window; biases are never."""
    switches = fields.options(
        windows=fields.windows(f, f.sliding_window, lambda index: True),
        activation=fields.activation(f.activation, "silu"),
    )
    return fields.common(f, options=switches)


#: In GGUF files its models are Llama's, without a window.
FAMILY = Family(
    name="mistral",
    models="Mistral 7B",
    describe=llama.describe,
    hugging_face=Format(
        ("MistralForCausalLM",),
        MistralFields,
        config,
        lambda c, f: decoder.llama(c),
        model_types=("mistral",),
        ignored=("attention_bias", "mlp_bias", "layer_types"),
    ),
    checked=4,
)
