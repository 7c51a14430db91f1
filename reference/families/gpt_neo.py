"""GPT-Neo: GPT-2 with unscaled scores, and windows in some layers."""

from celosia.reference.families import gpt2
from celosia.reference.families.family import Family, Format
from celosia.reference.families.fields import (
    Epsilon,
    Fields,
    Size,
    activation,
    common,
    options,
    refuse,
    windows,
)

__all__ = ["FAMILY"]


class GptNeoFields(
    Fields, kw_only=True, rename=gpt2.RENAMED | {"n_layers": "num_layers", "n_heads": "num_heads"}
):
    """GPT-Neo's: ``attention_types`` is a list of kinds and how often they come."""

    hidden_dim: Size | None = None
    n_layers: Size
    n_heads: Size
    norm_eps: Epsilon | None = 1e-5
    activation: str | None = "gelu_new"
    tied: bool | None = True
    attention_types: list[tuple[list[str], Size]] | None = None
    window_size: Size = 256


def config(f):
    """No biases on queries, keys and values."""
    kinds = []
    for names, times in f.attention_types or [(["global", "local"], f.n_layers)]:
        kinds += names * min(times, f.n_layers)
    if len(kinds) < f.n_layers or not set(kinds) <= {"global", "local"}:
        refuse("attention_types", f"must say of {f.n_layers} layers 'global' or 'local'")
    switches = options(
        learned_positions=True,
        unscaled=True,
        plain_qkv=True,
        activation=activation(f.activation, "gelu_tanh"),
        windows=windows(f, f.window_size, lambda index: kinds[index] == "local"),
    )
    return common(f, rope=False, hidden_dim=f.hidden_dim or 4 * f.dim, options=switches)


def names(c, f):
    """Matrices are [output, input], each alone."""
    attention = {f"w{x}": f"attn.attention.{x}_proj" for x in "qkv"}
    return gpt2.gpt_names(attention | {"wo": "attn.attention.out_proj"})


FAMILY = Family(
    name="gpt_neo",
    models="GPT-Neo",
    describe=gpt2.describe,
    hugging_face=Format(
        ("GPTNeoForCausalLM",), GptNeoFields, config, names, model_types=("gpt_neo",)
    ),
    checked=3,
)
