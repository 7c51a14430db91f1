"""Qwen2 and 2.5: Llama with biases on queries, keys and values, and windows in some layers."""

from celosia.reference.families import decoder, fields, llama, metadata
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY", "Qwen2Fields", "layer_windows"]


class Qwen2Fields(fields.Fields, kw_only=True):
    """Qwen2's. ``sliding_window`` alone means nothing."""

    n_kv_heads: fields.Size | None = 32
    use_sliding_window: bool | None = False
    sliding_window: fields.Size | None = 4096
    max_window_layers: int | None = 28
    layer_types: list[str] | None = None


def layer_windows(f):
    """Windows in the layers from ``max_window_layers`` on."""
    if not f.use_sliding_window:
        return ()
    return fields.windows(f, f.sliding_window, lambda index: index >= f.max_window_layers)


def config(f):
    """Biases on q, k and v always, nowhere else."""
    return fields.common(f, qkv_bias=True, windows=layer_windows(f))


FAMILY = Family(
    name="qwen2",
    models="Qwen2, Qwen2.5",
    describe=llama.describe,
    hugging_face=Format(("Qwen2ForCausalLM",), Qwen2Fields, config, decoder.llama),
    gguf=Format(
        ("qwen2",),
        metadata.Metadata,
        lambda f: metadata.common(f, qkv_bias=True),
        decoder.gguf,
    ),
    checked=3,
)
