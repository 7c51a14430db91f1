"""Every case: small random models of each family, by configs.json and the layouts of its tensors.

configs.json gives for each family its architecture, model type, what its class assumes where a
config.json is silent, a small configuration, and what each case changes of that. ``layout`` in a
case is no field of config.json but an option of the tensors' layout.
"""

import json
from pathlib import Path

import numpy as np

from families import decoder, experts, layer_norm, recurrent, ternary
from families.case import Case

__all__ = ["CASES", "EXPECTED", "expected", "relative_difference"]

_TWO = ("input_layernorm", "post_attention_layernorm")
_FOUR = (*_TWO, "pre_feedforward_layernorm", "post_feedforward_layernorm")

#: The layout of each family's tensors.
_LAYOUTS = {
    "llama": decoder.llama(),
    "mistral": decoder.llama(),
    "qwen2": decoder.llama(qkv_bias=True),
    "qwen3": decoder.llama("head"),
    "smollm3": decoder.llama(),
    "granite": decoder.llama(),
    "olmo2": decoder.llama(
        "full", norms=("post_attention_layernorm", "post_feedforward_layernorm")
    ),
    "gemma": decoder.gemma(_TWO),
    "gemma2": decoder.gemma(_FOUR),
    "gemma3_text": decoder.gemma(_FOUR, "head"),
    "gemma3": decoder.gemma3_nested(_FOUR),
    "gpt2": layer_norm.gpt2,
    "gpt_neo": layer_norm.gpt_neo,
    "gpt_neox": layer_norm.gpt_neox,
    "phi": layer_norm.phi,
    "opt": layer_norm.opt,
    "starcoder2": layer_norm.starcoder2,
    "bitnet": ternary.ternary,
    "falcon_e": ternary.ternary,
    "mixtral": experts.mixtral,
    "qwen3_moe": experts.qwen3_moe,
    "olmoe": experts.olmoe,
    "phi3": experts.phi3,
    "hgrn_bit": recurrent.hgrn_bit,
}


def _cases():
    families = json.loads(Path(__file__).with_name("configs.json").read_text())
    for family, about in families.items():
        first = {"architectures": [about["architecture"]], "model_type": about["model_type"]}
        for name, changes in about["cases"].items():
            fields = first | about["small"] | changes
            options = fields.pop("layout", {})
            yield Case(
                f"{family}-{name}", family, fields, _LAYOUTS[family], about["assumed"] | options
            )


CASES = tuple(_cases())

#: The folder of the expected logits, made by judge.py.
EXPECTED = Path(__file__).parent / "expected"


def expected(case, activations="float"):
    """The judge's logits, float32[POSITIONS, vocab_size].

    ``activations`` matters for ternary models: "float", or "int8" as their own code has it, each
    token's vector rounded to 127 / max abs before every ternary matrix.
    """
    with np.load(EXPECTED / f"{case.name}.npz") as arrays:
        return arrays["int8" if activations == "int8" and "int8" in arrays else "logits"]


def relative_difference(ours, theirs):
    """The largest difference of two logits arrays, relative to the spread of ``theirs``."""
    return float(np.abs(ours - theirs).max() / (theirs.max() - theirs.min()))
