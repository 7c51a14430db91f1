"""GPT-NeoX and Pythia: attention and MLP beside each other, a part of each head rotated."""

from typing import ClassVar

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format
from celosia.reference.families.names import ByHead, joined_qkv

__all__ = ["FAMILY"]


def layer(c, index):
    """LayerNorm; both norms are of the same stream, or one after the other."""
    bias = c.options.get("attention_bias", False)
    first = decoder.norm(c, "attention_norm", layer_norm=True)
    between = "h" if c.options.get("serial") else "h2"
    second = decoder.norm(c, "ffn_norm", out=between, layer_norm=True)
    attention = *decoder.attention(c, index), decoder.linear("a", "x", "wo", bias)
    mlp = decoder.plain_mlp(c, "gelu", input=between)
    if c.options.get("serial"):
        return first, *attention, second, *mlp
    return first, second, *attention, *mlp


def describe(c):
    """LayerNorm before the head."""
    end = decoder.norm(c, "norm", layer_norm=True), decoder.head(c)
    return decoder.decoder(c, layer, end=end)


class NeoxFields(fields.Fields, kw_only=True, rename=fields.NAMES | {"norm_eps": "layer_norm_eps"}):
    """GPT-NeoX's."""

    usual_activation: ClassVar[str] = "gelu"

    norm_eps: fields.Epsilon | None = 1e-5
    rotary_pct: fields.Number = 0.25
    rotary_emb_base: fields.Number = 1e4
    use_parallel_residual: bool = True
    attention_bias: bool = True


def config(f):
    """The base and the part that is rotated have names of their own in older files."""
    given = fields.common(f, partial=f.rotary_pct, serial=not f.use_parallel_residual)
    theta = getattr(f.rope_scaling or f.rope_parameters, "rope_theta", None)
    return given | {"rope_theta": theta or f.rotary_emb_base}


def names(c, f):
    """Queries, keys and values of each head stand together."""
    changes = {
        f"w{x}": ByHead("attention.query_key_value", i, 3, c.head_dim) for i, x in enumerate("qkv")
    }
    changes |= {"wo": "attention.dense"}
    changes |= {"w_up": "mlp.dense_h_to_4h", "w_down": "mlp.dense_4h_to_h"}
    own = {"embedding": "gpt_neox.embed_in", "norm": "gpt_neox.final_layer_norm"}
    masks = (r"\.attention\.(masked_)?bias$",)
    more = {"aliases": ((r"^embed_out\.", "lm_head."),), "ignored": masks}
    return decoder.llama(c, f, changes, own, "gpt_neox.layers.{}.", **more)


class NeoxMetadata(metadata.LayerNormMetadata, kw_only=True):
    """GPT-NeoX's."""

    use_parallel_residual: bool = True


def gguf_config(f):
    """The base, and which GELU, are not in the file."""
    serial = not f.use_parallel_residual
    return metadata.common(f, partial=True, serial=serial, attention_bias=f.attention_bias)


FAMILY = Family(
    name="gpt_neox",
    models="GPT-NeoX, Pythia",
    describe=describe,
    hugging_face=Format(("GPTNeoXForCausalLM",), NeoxFields, config, names),
    gguf=Format(
        ("gptneox",),
        NeoxMetadata,
        gguf_config,
        lambda c, f: decoder.gguf(c, changes=joined_qkv(c, "attn_qkv")),
    ),
    checked=4,
)
