"""Llama 1 to 3, and what is like it: SmolLM2, TinyLlama, Mistral without a window."""

from celosia.reference.families.decoder import gated_layer, pre_norm
from celosia.reference.families.family import Family

__all__ = ["FAMILY"]


def describe(c):
    """RMSNorm before attention and before a SiLU-gated MLP, both added; rotary positions."""
    return pre_norm(c, lambda index: gated_layer(c))


FAMILY = Family(name="llama", describe=describe, architectures=("LlamaForCausalLM",))
