"""StarCoder2: Llama with LayerNorm, a plain MLP, biases everywhere and perhaps a window."""

from typing import ClassVar

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


def layer(c, index):
    """LayerNorm before attention and before the MLP."""
    bias = not c.options.get("plain")
    return (
        decoder.norm(c, "attention_norm", layer_norm=True),
        *decoder.attention(c, index, bias=bias),
        decoder.linear("a", "x", "wo", bias),
        decoder.norm(c, "ffn_norm", layer_norm=True),
        *decoder.plain_mlp(c, bias=bias),
    )


def describe(c):
    """LayerNorm before the head."""
    end = decoder.norm(c, "norm", layer_norm=True), decoder.head(c)
    return decoder.decoder(c, layer, end=end)


class Starcoder2Fields(
    fields.Fields, kw_only=True, rename=fields.NAMES | {"norm_eps": "norm_epsilon"}
):
    """StarCoder2's."""

    usual_activation: ClassVar[str] = "gelu_tanh"

    n_kv_heads: fields.Size | None = 2
    norm_eps: fields.Epsilon | None = 1e-5
    tied: bool | None = True
    use_bias: bool = True
    sliding_window: fields.Size | None = None


def config(f):
    """A window is that of every layer."""
    windows = fields.windows(f, f.sliding_window, lambda index: True)
    return fields.common(f, plain=not f.use_bias, windows=windows)


MLP = {"w_up": "mlp.c_fc", "w_down": "mlp.c_proj"}

FAMILY = Family(
    name="starcoder2",
    models="StarCoder2",
    describe=describe,
    hugging_face=Format(
        ("Starcoder2ForCausalLM",),
        Starcoder2Fields,
        config,
        lambda c, f: decoder.llama(c, changes=MLP),
        ignored=("activation_function",),
    ),
    gguf=Format(
        ("starcoder2",),
        metadata.LayerNormMetadata,
        lambda f: metadata.common(f, plain=not f.mlp_bias),
        decoder.gguf,
    ),
    checked=3,
)
