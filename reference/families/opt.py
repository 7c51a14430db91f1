"""OPT: LayerNorm before or behind, learned positions from row 2 on, a plain MLP."""

from typing import ClassVar

from celosia.reference.families import decoder, fields
from celosia.reference.families.family import Family, Format
from celosia.reference.families.names import Names
from celosia.reference.operations import Copy, Embed, Norm

__all__ = ["FAMILY"]

OFFSET = 2  # rows of positions that are for none


def norm(c, gain, out="h"):
    """A LayerNorm of the stream, with gain and bias unless the file says that it has none."""
    if c.options.get("bare_norms"):
        return Norm("x", out, c.norm_eps, centred=True)
    return decoder.norm(c, gain, out=out, layer_norm=True)


def layer(c, index):
    """Norms before both; or of the stream itself, behind both."""
    bias = not c.options.get("plain")
    attention = *decoder.attention(c, index, bias=bias), decoder.linear("a", "x", "wo", bias)
    mlp = decoder.plain_mlp(c, "relu", bias)
    if not c.options.get("norms_behind"):
        return norm(c, "attention_norm"), *attention, norm(c, "ffn_norm"), *mlp
    first, second = (Copy("x", "h"), *attention), (Copy("x", "h"), *mlp)
    return *first, norm(c, "attention_norm", "x"), *second, norm(c, "ffn_norm", "x")


def describe(c):
    """A norm before the head, if there is one."""
    rows = c.seq_len + OFFSET
    begin = (Embed("x", "embedding", positions="positions", offset=OFFSET, rows=rows),)
    last = Copy("x", "h") if c.options.get("no_last_norm") else norm(c, "norm")
    return decoder.decoder(c, layer, begin, (last, decoder.head(c)))


_RENAMED = {
    "hidden_dim": "ffn_dim",
    "activation": "activation_function",
    "remove_final_layer_norm": "_remove_final_layer_norm",
}


class OptFields(fields.Fields, kw_only=True, rename=fields.NAMES | _RENAMED):
    """OPT's."""

    usual_activation: ClassVar[str] = "relu"

    hidden_dim: fields.Size
    activation: str | None = None
    tied: bool | None = True
    do_layer_norm_before: bool = True
    remove_final_layer_norm: bool = False
    layer_norm_elementwise_affine: bool = True
    enable_bias: bool = True
    word_embed_proj_dim: fields.Size | None = None


def config(f):
    """Embeddings of another size than the model's are not supported."""
    if f.word_embed_proj_dim not in (None, f.dim):
        text = f"only hidden_size, {f.dim}, is supported (of OPT's models, all but 350m have that)"
        fields.refuse("word_embed_proj_dim", text)
    given = fields.common(
        f,
        rope=False,
        learned_positions=True,
        norms_behind=not f.do_layer_norm_before,
        no_last_norm=f.remove_final_layer_norm or not f.do_layer_norm_before,
        bare_norms=not f.layer_norm_elementwise_affine,
        plain=not f.enable_bias,
    )
    return given | {"norm_eps": 1e-5}


def names(c, f):
    """Older files have no ``model.`` in front."""
    layer = {f"w{x}": f"self_attn.{x}_proj" for x in "qkv"} | {"wo": "self_attn.out_proj"}
    layer |= {"attention_norm": "self_attn_layer_norm", "ffn_norm": "final_layer_norm"}
    layer |= {"w_up": "fc1", "w_down": "fc2"}
    own = {"embedding": "embed_tokens", "positions": "embed_positions", "norm": "final_layer_norm"}
    own = {name: f"model.decoder.{each}" for name, each in own.items()} | {"head": "lm_head"}
    aliases = ((r"^decoder\.", "model.decoder."),)
    return Names(own, layer, "model.decoder.layers.{}.", aliases=aliases)


FAMILY = Family(
    name="opt",
    models="OPT",
    describe=describe,
    hugging_face=Format(("OPTForCausalLM",), OptFields, config, names),
    checked=4,
)
