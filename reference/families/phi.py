"""Phi-1, 1.5 and 2: one LayerNorm for attention and MLP beside each other, a part rotated."""

from functools import partial
from typing import ClassVar

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.families.names import First, Part, joined_qkv

__all__ = ["FAMILY"]


def layer(c, index):
    """Biases everywhere; LayerNorms of heads if the file says so."""
    heads = partial(decoder.head_norm, layer_norm=True) if c.options.get("head_norms") else None
    return (
        decoder.norm(c, "attention_norm", layer_norm=True),
        *decoder.attention(c, index, bias=True, heads=heads),
        decoder.linear("a", "x", "wo", True),
        *decoder.plain_mlp(c),
    )


def describe(c):
    """The head has a bias too."""
    end = decoder.norm(c, "norm", layer_norm=True), decoder.head(c, bias=True)
    return decoder.decoder(c, layer, end=end)


class PhiFields(fields.Fields, kw_only=True, rename=fields.NAMES | {"norm_eps": "layer_norm_eps"}):
    """Phi's."""

    usual_activation: ClassVar[str] = "gelu_tanh"

    norm_eps: fields.Epsilon | None = 1e-5
    qk_layernorm: bool | None = False


def config(f):
    """Half of each head is rotated if the file does not say."""
    return fields.common(f, partial=0.5, head_norms=f.qk_layernorm)


def names(c, f):
    """The bias of a tied head is its own."""
    changes = {"wo": "self_attn.dense", "w_up": "mlp.fc1", "w_down": "mlp.fc2"}
    changes |= {"q_norm": "self_attn.q_layernorm", "k_norm": "self_attn.k_layernorm"}
    return decoder.llama(c, changes=changes, own={"norm": "model.final_layernorm"})


def gguf_names(c, f):
    """Older files have queries, keys and values in one matrix."""
    joined = joined_qkv(c, "attn_qkv")
    changes = {name: First((Part(f"attn_{name[1]}"), part)) for name, part in joined.items()}
    return decoder.gguf(c, changes=changes)


FAMILY = Family(
    name="phi",
    models="Phi-1, Phi-1.5, Phi-2",
    describe=describe,
    hugging_face=Format(("PhiForCausalLM",), PhiFields, config, names),
    gguf=Format(
        ("phi2",),
        metadata.LayerNormMetadata,
        lambda f: metadata.common(f, partial=True),
        gguf_names,
    ),
    checked=3,
)
