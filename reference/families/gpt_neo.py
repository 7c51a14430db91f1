"""GPT-Neo: GPT-2 with unscaled scores, and windows in some layers."""

from celosia.reference.families import fields, gpt
from celosia.reference.families.family import Family, Format

__all__ = ["FAMILY"]


class GptNeoFields(
    gpt.GptFields,
    kw_only=True,
    rename=fields.NAMES | gpt.RENAMED | {"n_layers": "num_layers", "n_heads": "num_heads"},
):
    """GPT-Neo's: ``attention_types`` is a list of kinds and how often they come."""

    n_layers: fields.Layers
    n_heads: fields.Size
    attention_types: list[tuple[list[str], fields.Size]] | None = None
    window_size: fields.Size = 256


def config(f):
    """No biases on queries, keys and values."""
    kinds = []
    for names, times in f.attention_types or [(["global", "local"], f.n_layers)]:
        kinds += names * min(times, f.n_layers)
    if len(kinds) < f.n_layers or not set(kinds) <= {"global", "local"}:
        fields.refuse("attention_types", f"must say of {f.n_layers} layers 'global' or 'local'")
    windows = fields.windows(f, f.window_size, lambda index: kinds[index] == "local")
    return gpt.config(f, unscaled=True, plain_qkv=True, windows=windows)


def names(c, f):
    """Matrices are [output, input], each alone."""
    attention = {f"w{x}": f"attn.attention.{x}_proj" for x in "qkv"}
    return gpt.names(attention | {"wo": "attn.attention.out_proj"})


FAMILY = Family(
    name="gpt_neo",
    models="GPT-Neo",
    describe=gpt.describe,
    hugging_face=Format(("GPTNeoForCausalLM",), GptNeoFields, config, names),
    checked=3,
)
