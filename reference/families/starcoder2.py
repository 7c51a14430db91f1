"""StarCoder2: Llama with LayerNorm, a plain MLP, biases everywhere and perhaps a window."""

from celosia.reference.families import decoder, fields, metadata
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


def describe(c):
    """LayerNorm before attention, before the MLP and before the head."""
    o = c.options
    bias = not o.get("plain")

    def layer(index):
        return (
            decoder.norm(c, "attention_norm", layer_norm=True),
            *decoder.projections(bias),
            *decoder.rotation(c),
            decoder.attend(c, index),
            decoder.linear("a", "x", "wo", bias),
            decoder.norm(c, "ffn_norm", layer_norm=True),
            *decoder.plain_mlp(o.get("activation", "gelu_tanh"), bias),
        )

    end = decoder.norm(c, "norm", layer_norm=True), decoder.head(c)
    return decoder.decoder(c, layer, end=end)


class Starcoder2Fields(
    fields.Fields, kw_only=True, rename=fields.NAMES | {"norm_eps": "norm_epsilon"}
):
    """StarCoder2's."""

    n_kv_heads: fields.Size | None = 2
    norm_eps: fields.Epsilon | None = 1e-5
    activation: str | None = "gelu_pytorch_tanh"
    tied: bool | None = True
    use_bias: bool = True
    sliding_window: fields.Size | None = None


def config(f):
    """A window is that of every layer."""
    switches = fields.options(
        plain=not f.use_bias,
        activation=fields.activation(f.activation, "gelu_tanh"),
        windows=fields.windows(f, f.sliding_window, lambda index: True),
    )
    return fields.common(f, options=switches)


MLP = {"w_up": "mlp.c_fc", "w_down": "mlp.c_proj"}

FAMILY = Family(
    name="starcoder2",
    models="StarCoder2",
    describe=describe,
    hugging_face=Format(
        ("Starcoder2ForCausalLM",),
        Starcoder2Fields,
        config,
        lambda c, f: decoder.llama(c, MLP),
        model_types=("starcoder2",),
        ignored=("activation_function",),
    ),
    gguf=Format(
        ("starcoder2",),
        metadata.LayerNormMetadata,
        lambda f: metadata.common(f, options=fields.options(plain=not f.mlp_bias)),
        lambda c, f: decoder.gguf(c),
    ),
    checked=3,
)
