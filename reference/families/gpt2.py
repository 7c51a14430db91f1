"""GPT-2: LayerNorm, learned positions, a plain MLP, biases everywhere."""

from celosia.reference.families import decoder, fields, gpt, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.families.names import Part, joined_qkv

__all__ = ["FAMILY"]


_SIZES = {
    "dim": "n_embd",
    "hidden_dim": "n_inner",
    "n_layers": "n_layer",
    "n_heads": "n_head",
    "seq_len": "n_positions",
}


class Gpt2Fields(gpt.GptFields, kw_only=True, rename=fields.NAMES | gpt.RENAMED | _SIZES):
    """GPT-2's."""

    dim: fields.Size
    hidden_dim: fields.Size | None = None
    n_layers: fields.Layers
    n_heads: fields.Size
    seq_len: fields.Size
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False


def config(f):
    """How scores are scaled."""
    by_layer = f.scale_attn_by_inverse_layer_idx
    return gpt.config(f, unscaled=not f.scale_attn_weights, layer_scaled=by_layer)


def names(c, f):
    """Queries, keys and values are one matrix; all are [input, output]."""
    fused = joined_qkv(c, "attn.c_attn", transposed=True)
    return gpt.names(fused | {"wo": Part("attn.c_proj", transposed=True)}, turned=True)


def gguf_names(c, f):
    """Matrices are [output, input]."""
    own = {"positions": "position_embd"}
    return decoder.gguf(c, changes=joined_qkv(c, "attn_qkv"), own=own, interleaved=True)


FAMILY = Family(
    name="gpt2",
    models="GPT-2",
    describe=gpt.describe,
    hugging_face=Format(("GPT2LMHeadModel",), Gpt2Fields, config, names),
    gguf=Format(  # how scores are scaled is not in the file
        ("gpt2",),
        metadata.LayerNormMetadata,
        lambda f: metadata.common(f, learned_positions=True),
        gguf_names,
    ),
    checked=3,
)
