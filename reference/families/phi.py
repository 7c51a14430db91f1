"""Phi-1, 1.5 and 2: one LayerNorm for attention and MLP beside each other, a part rotated."""

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.families.names import First, Part, joined_qkv

__all__ = ["FAMILY"]


def describe(c):
    """Biases everywhere, the head's included; LayerNorms of heads if the file says so."""
    normed = c.options.get("head_norms", False)

    def layer(index):
        return (
            decoder.norm(c, "attention_norm", layer_norm=True),
            *decoder.projections(True, normed),
            *(decoder.head_norms(c, layer_norm=True) if normed else ()),
            *decoder.rotation(c),
            decoder.attend(c, index),
            decoder.linear("a", "x", "wo", True),
            *decoder.plain_mlp(c.options.get("activation", "gelu_tanh")),
        )

    end = decoder.norm(c, "norm", layer_norm=True), decoder.head(c, bias=True)
    return decoder.decoder(c, layer, end=end)


class PhiFields(fields.Fields, kw_only=True, rename=fields.NAMES | {"norm_eps": "layer_norm_eps"}):
    """Phi's."""

    norm_eps: fields.Epsilon | None = 1e-5
    activation: str | None = "gelu_new"
    qk_layernorm: bool | None = False


def config(f):
    """Half of each head is rotated if the file does not say."""
    fraction = 0.5 if f.partial_rotary_factor is None else None
    switches = fields.options(
        head_norms=f.qk_layernorm,
        activation=fields.activation(f.activation, "gelu_tanh"),
        rotary_dim=fields.rotary(f, f.head_dim or f.dim // f.n_heads, fraction),
    )
    return fields.common(f, partial=True, options=switches)


def names(c, f):
    """The bias of a tied head is its own."""
    changes = {"wo": "self_attn.dense", "w_up": "mlp.fc1", "w_down": "mlp.fc2"}
    changes |= {"q_norm": "self_attn.q_layernorm", "k_norm": "self_attn.k_layernorm"}
    return decoder.llama(c, changes, {"norm": "model.final_layernorm"})


def gguf_names(c, f):
    """Older files have queries, keys and values in one matrix."""
    joined = joined_qkv(c, "attn_qkv")
    changes = {name: First((Part(f"attn_{name[1]}"), part)) for name, part in joined.items()}
    return decoder.gguf(c, changes)


FAMILY = Family(
    name="phi",
    models="Phi-1, Phi-1.5, Phi-2",
    describe=describe,
    hugging_face=Format(("PhiForCausalLM",), PhiFields, config, names, model_types=("phi",)),
    gguf=Format(
        ("phi2",),
        metadata.LayerNormMetadata,
        lambda f: metadata.common(
            f, partial=True, options=fields.options(rotary_dim=metadata.rotary(f))
        ),
        gguf_names,
    ),
    checked=3,
)
