"""What GPT-2 and GPT-Neo have in common: what they compute, and most of their files."""

from typing import ClassVar

from celosia.reference.families import decoder, fields
from celosia.reference.families.names import Names, Part
from celosia.reference.operations import Embed

__all__ = ["RENAMED", "GptFields", "config", "describe", "names"]


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


class GptFields(fields.Fields, kw_only=True, rename=fields.NAMES | RENAMED):
    """An MLP 4 times as wide if the file does not say."""

    usual_activation: ClassVar[str] = "gelu_tanh"

    hidden_dim: fields.Size | None = None
    norm_eps: fields.Epsilon | None = 1e-5
    activation: str | None = None
    tied: bool | None = True


def config(f, **more):
    """Positions are learned."""
    given = fields.common(f, rope=False, learned_positions=True, **more)
    return given | {"hidden_dim": f.hidden_dim or 4 * f.dim}


def names(attention, turned=False):
    """The names of GPT-2's files, whose matrices are turned; ``attention`` is that of the layer."""
    layer = {"w_up": Part("mlp.c_fc", transposed=turned)}
    layer |= {"w_down": Part("mlp.c_proj", transposed=turned)}
    layer |= {"attention_norm": "ln_1", "ffn_norm": "ln_2"} | attention
    own = {"embedding": "wte", "positions": "wpe", "norm": "ln_f"}
    own = {name: f"transformer.{each}" for name, each in own.items()} | {"head": "lm_head"}
    aliases = ((r"^(?=h\.|wte\.|wpe\.|ln_f\.)", "transformer."),)
    masks = (r"\.attn\.(attention\.)?(masked_)?bias$",)
    return Names(own, layer, "transformer.h.{}.", aliases=aliases, ignored=masks)
