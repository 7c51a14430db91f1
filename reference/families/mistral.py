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
    return fields.common(f, windows=fields.windows(f, f.sliding_window, lambda index: True))


#: In GGUF files its models are Llama's, without a window.
FAMILY = Family(
    name="mistral",
    models="Mistral 7B",
    describe=llama.describe,
    hugging_face=Format(
        ("MistralForCausalLM",),
        MistralFields,
        config,
        decoder.llama,
        ignored=("attention_bias", "mlp_bias", "layer_types"),
    ),
    checked=4,
)
