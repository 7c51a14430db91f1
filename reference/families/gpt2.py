"""GPT-2: LayerNorm, learned positions, a plain MLP, biases everywhere."""

from typing import ClassVar

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.families.names import Names, Part, joined_qkv
from celosia.reference.operations import Embed

__all__ = ["FAMILY", "RENAMED", "GptFields", "describe", "gpt_config", "gpt_names"]


def layer(c, index):
    """Norms before both; scores unscaled, or divided by the layer's number, if the file says so."""
    o = c.options
    scale = 1.0 if o.get("unscaled") else c.head_dim**-0.5
    scale /= index + 1 if o.get("layer_scaled") else 1
    return (
        decoder.norm(c, "attention_norm", layer_norm=True),
        *decoder.attention(c, index, bias=not o.get("plain_qkv"), scale=scale),
        decoder.linear("a", "x", "wo", True),
        decoder.norm(c, "ffn_norm", layer_norm=True),
        *decoder.plain_mlp(c),
    )


def describe(c):
    """A row of learned positions is added to the embedding."""
    begin = (Embed("x", "embedding", positions="positions", rows=c.seq_len),)
    end = decoder.norm(c, "norm", layer_norm=True), decoder.head(c)
    return decoder.decoder(c, layer, begin, end)


RENAMED = {"norm_eps": "layer_norm_epsilon", "activation": "activation_function"}
_SIZES = {
    "dim": "n_embd",
    "hidden_dim": "n_inner",
    "n_layers": "n_layer",
    "n_heads": "n_head",
    "seq_len": "n_positions",
}


class GptFields(fields.Fields, kw_only=True, rename=fields.NAMES | RENAMED):
    """What GPT-2 and GPT-Neo have in common: an MLP 4 times as wide if the file does not say."""

    usual_activation: ClassVar[str] = "gelu_tanh"

    hidden_dim: fields.Size | None = None
    norm_eps: fields.Epsilon | None = 1e-5
    activation: str | None = None
    tied: bool | None = True


def gpt_config(f, **more):
    """Positions are learned."""
    given = fields.common(f, rope=False, learned_positions=True, **more)
    return given | {"hidden_dim": f.hidden_dim or 4 * f.dim}


class Gpt2Fields(GptFields, kw_only=True, rename=fields.NAMES | RENAMED | _SIZES):
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
    return gpt_config(f, unscaled=not f.scale_attn_weights, layer_scaled=by_layer)


def gpt_names(attention, turned=False):
    """The names of GPT-2's files, whose matrices are turned; ``attention`` is that of the layer."""
    layer = {"w_up": Part("mlp.c_fc", transposed=turned)}
    layer |= {"w_down": Part("mlp.c_proj", transposed=turned)}
    layer |= {"attention_norm": "ln_1", "ffn_norm": "ln_2"} | attention
    own = {"embedding": "wte", "positions": "wpe", "norm": "ln_f"}
    own = {name: f"transformer.{each}" for name, each in own.items()} | {"head": "lm_head"}
    aliases = ((r"^(?=h\.|wte\.|wpe\.|ln_f\.)", "transformer."),)
    masks = (r"\.attn\.(attention\.)?(masked_)?bias$",)
    return Names(own, layer, "transformer.h.{}.", aliases=aliases, ignored=masks)


def names(c, f):
    """Queries, keys and values are one matrix; all are [input, output]."""
    fused = joined_qkv(c, "attn.c_attn", transposed=True)
    return gpt_names(fused | {"wo": Part("attn.c_proj", transposed=True)}, turned=True)


def gguf_names(c, f):
    """Matrices are [output, input]."""
    own = {"positions": "position_embd"}
    return decoder.gguf(c, changes=joined_qkv(c, "attn_qkv"), own=own, interleaved=True)


FAMILY = Family(
    name="gpt2",
    models="GPT-2",
    describe=describe,
    hugging_face=Format(("GPT2LMHeadModel",), Gpt2Fields, config, names),
    gguf=Format(  # how scores are scaled is not in the file
        ("gpt2",),
        metadata.LayerNormMetadata,
        lambda f: metadata.common(f, learned_positions=True),
        gguf_names,
    ),
    checked=3,
)
