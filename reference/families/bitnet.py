"""BitNet b1.58: Llama with ternary matrices, and norms before the last one of attention and MLP."""

from dataclasses import replace
from typing import ClassVar

from celosia.reference.families import decoder, fields, llama, metadata, ternary
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


def layer(c, index):
    """Squared ReLU gates."""
    bias = c.options.get("attention_bias", False)
    gate, up, product, down = decoder.gated_mlp(c, "relu2")
    return (
        decoder.norm(c, "attention_norm"),
        *decoder.attention(c, index),
        decoder.norm(c, "attention_inner_norm", "a", "normed_a"),
        decoder.linear("normed_a", "x", "wo", bias),
        decoder.norm(c, "ffn_norm"),
        *(gate, up, product),
        decoder.norm(c, "ffn_inner_norm", "f", "normed_f"),
        replace(down, input="normed_f"),
    )


def describe(c):
    """``input_norms`` are those of every matrix, if there are any."""
    description, eps = decoder.decoder(c, layer), c.options.get("input_norms")
    return description if eps is None else ternary.norm_inputs(description, eps)


class BitNetFields(llama.LlamaFields, kw_only=True):
    """BitNet's."""

    default_theta: ClassVar[float] = 5e5
    usual_activation: ClassVar[str] = "relu2"

    n_kv_heads: fields.Size | None = 5
    norm_eps: fields.Epsilon | None = 1e-5


def config(f):
    """Activations stay as they are: rounding them is the machine's matter."""
    return fields.common(f, quantized=True, **ternary.check(f.quantization_config))


NORMS = {
    "attention_inner_norm": "self_attn.attn_sub_norm",
    "ffn_inner_norm": "mlp.ffn_sub_norm",
}


class BitNetMetadata(
    metadata.Metadata, kw_only=True, rename=metadata.NAMES | {"activation": "hidden_act"}
):
    """BitNet's; the older models, whose files do not say, have SiLU."""

    activation: str = "silu"


def gguf_config(f):
    """The activation is in newer files."""
    return metadata.common(f, activation=fields.activation(f.activation, "relu2"))


def gguf_names(c, f):
    """Norms as Hugging Face's files call them."""
    layer = {"attention_inner_norm": "attn_sub_norm", "ffn_inner_norm": "ffn_sub_norm"}
    weights = {name: each for name, each in decoder.GGUF_LAYER.items() if name.startswith("w")}
    changes = layer | {name: ternary.Scaled(each) for name, each in weights.items()}
    return decoder.gguf(c, changes=changes)


FAMILY = Family(
    name="bitnet",
    models="BitNet b1.58 2B-4T",
    describe=describe,
    hugging_face=Format(
        ("BitNetForCausalLM",),
        BitNetFields,
        config,
        lambda c, f: ternary.names(decoder.llama(c, changes=NORMS), f),
        ignored=("mlp_bias",),
    ),
    gguf=Format(("bitnet",), BitNetMetadata, gguf_config, gguf_names),
    checked=5,
)
