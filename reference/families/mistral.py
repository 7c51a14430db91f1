"""Mistral: Llama with a window of attention in every layer."""

from celosia.reference.families import decoder, llama
from celosia.reference.families.family import Family, Format
from celosia.reference.families.fields import Fields, Size, activation, common, options, windows

__all__ = ["FAMILY"]


class MistralFields(Fields, kw_only=True):
    """Mistral's. The window is that of the class where the file is silent."""

    n_kv_heads: Size | None = 8
    sliding_window: Size | None = 4096


def config(f):
    """All layers have the window; biases are never."""
    switches = options(
        windows=windows(f, f.sliding_window, lambda index: True),
        activation=activation(f.activation, "silu"),
    )
    return common(f, options=switches)


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
    checked=3,
)
