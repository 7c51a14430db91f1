"""Phi-3 and Phi-4-mini: Llama with joined matrices, a part of each head rotated, a window."""

from celosia.reference.families import decoder, fields, llama, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.families.names import Part, joined_qkv

__all__ = ["FAMILY"]


class Phi3Fields(fields.Fields, kw_only=True):
    """Phi-3's."""

    norm_eps: fields.Epsilon | None = 1e-5
    sliding_window: fields.Size | None = None


def config(f):
    """The window is that of every layer."""
    windows = fields.windows(f, f.sliding_window, lambda index: True)
    return fields.common(f, partial=1, windows=windows)


def joined(c, qkv, gate_up):
    """Queries, keys and values below each other, and gate and up."""
    parts = joined_qkv(c, qkv)
    both = (c.hidden_dim,) * 2
    return parts | {"w_gate": Part(gate_up, 0, both), "w_up": Part(gate_up, 1, both)}


class Phi3Metadata(
    metadata.Metadata, kw_only=True, rename=metadata.NAMES | {"window": "attention.sliding_window"}
):
    """Phi-3's; 0 is no window."""

    window: int = 0


def gguf_config(f):
    """As in config.json."""
    chosen = fields.windows(f, max(f.window, 0), lambda index: f.window > 0)
    return metadata.common(f, partial=True, windows=chosen)


FAMILY = Family(
    name="phi3",
    models="Phi-3, Phi-4-mini (to 4,096 positions)",
    describe=llama.describe,
    hugging_face=Format(
        ("Phi3ForCausalLM",),
        Phi3Fields,
        config,
        lambda c, f: decoder.llama(c, changes=joined(c, "self_attn.qkv_proj", "mlp.gate_up_proj")),
    ),
    gguf=Format(
        ("phi3",),
        Phi3Metadata,
        gguf_config,
        lambda c, f: decoder.gguf(c, changes=joined(c, "attn_qkv", "ffn_up")),
    ),
    checked=4,
)
