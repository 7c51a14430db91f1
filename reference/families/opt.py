"""OPT: LayerNorm before or behind, learned positions from row 2 on, a plain MLP."""

from celosia.reference.families import decoder, fields
from celosia.reference.families.family import Family, Format
from celosia.reference.families.names import Names
from celosia.reference.operations import Copy, Embed, Norm

__all__ = ["FAMILY"]

OFFSET = 2  # rows of positions that are for none


def describe(c):
    """Norms before both and before the head; or of the stream itself, behind both."""
    o = c.options
    bias = not o.get("plain")

    def norm(gain, out="h"):
        if o.get("bare_norms"):
            return Norm("x", out, c.norm_eps, centred=True)
        return decoder.norm(c, gain, out=out, layer_norm=True)

    def normed(gain, operations):
        if o.get("norms_behind"):
            return Copy("x", "h"), *operations, norm(gain, "x")
        return norm(gain), *operations

    def layer(index):
        attention = (
            *decoder.projections(bias),
            decoder.attend(c, index),
            decoder.linear("a", "x", "wo", bias),
        )
        mlp = decoder.plain_mlp(o.get("activation", "relu"), bias)
        return *normed("attention_norm", attention), *normed("ffn_norm", mlp)

    rows = c.seq_len + OFFSET
    begin = (Embed("x", "embedding", positions="positions", offset=OFFSET, rows=rows),)
    last = Copy("x", "h") if o.get("no_last_norm") else norm("norm")
    return decoder.decoder(c, layer, begin, (last, decoder.head(c)))


class OptFields(
    fields.Fields,
    kw_only=True,
    rename=fields.NAMES
    | {
        "hidden_dim": "ffn_dim",
        "activation": "activation_function",
        "remove_final_layer_norm": "_remove_final_layer_norm",
    },
):
    """OPT's."""

    hidden_dim: fields.Size
    norm_eps: fields.Epsilon | None = 1e-5
    activation: str | None = "relu"
    tied: bool | None = True
    do_layer_norm_before: bool = True
    remove_final_layer_norm: bool = False
    layer_norm_elementwise_affine: bool = True
    enable_bias: bool = True
    word_embed_proj_dim: fields.Size | None = None


def config(f):
    """Embeddings of another size than the model's are not supported."""
    if f.word_embed_proj_dim not in (None, f.dim):
        fields.refuse("word_embed_proj_dim", f"only hidden_size, {f.dim}, is supported")
    switches = fields.options(
        learned_positions=True,
        norms_behind=not f.do_layer_norm_before,
        no_last_norm=f.remove_final_layer_norm or not f.do_layer_norm_before,
        bare_norms=not f.layer_norm_elementwise_affine,
        plain=not f.enable_bias,
        activation=fields.activation(f.activation, "relu"),
    )
    return fields.common(f, rope=False, norm_eps=1e-5, options=switches)


def names(c, f):
    """Older files have no ``model.`` in front."""
    layer = {
        f"w{x}": f"self_attn.{name}_proj"
        for x, name in zip("qkvo", ("q", "k", "v", "out"), strict=True)
    }
    layer |= {"attention_norm": "self_attn_layer_norm", "ffn_norm": "final_layer_norm"}
    layer |= {"w_up": "fc1", "w_down": "fc2"}
    own = {"embedding": "embed_tokens", "positions": "embed_positions", "norm": "final_layer_norm"}
    own = {name: f"model.decoder.{each}" for name, each in own.items()} | {"head": "lm_head"}
    return Names(
        own, layer, "model.decoder.layers.{}.", aliases=((r"^decoder\.", "model.decoder."),)
    )


FAMILY = Family(
    name="opt",
    models="OPT",
    describe=describe,
    hugging_face=Format(("OPTForCausalLM",), OptFields, config, names, model_types=("opt",)),
    checked=4,
)
