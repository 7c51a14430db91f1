"""Hugging Face directories of Llama-family models: config.json, *.safetensors, tokenizer.json."""

import logging

from celosia.reference.checkpoint import tokenizer_json
from celosia.reference.checkpoint.error import CheckpointError, UnsupportedTokenizerError
from celosia.reference.checkpoint.hugging_face_config import (
    model_config,
    read_ends,
    read_fields,
)
from celosia.reference.checkpoint.hugging_face_files import read_files
from celosia.reference.checkpoint.tensors import check_shape, check_values
from celosia.reference.families import describe
from celosia.reference.model import Model

__all__ = ["read_model"]

_LAYER = {
    "attention_norm": "input_layernorm",
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "w_gate": "mlp.gate_proj",
    "w_up": "mlp.up_proj",
    "w_down": "mlp.down_proj",
}
#: Buffers that conversions left behind: what they hold is computed from the configuration.
_BUFFERS = ("rotary_emb.inv_freq", "self_attn.masked_bias")


def read_model(path, with_tokenizer=True):
    """The model in a directory; the rows of wq and wk are permuted from half-split to interleaved.

    A directory without tokenizer.json gives a model without tokenizer.
    """
    fields = read_fields(path)
    config = model_config(fields, path)
    tensors = read_files(path)

    def take(name, shape):
        if name not in tensors:
            raise CheckpointError(f"{path}: {name} is missing")
        tensor = tensors.pop(name)
        check_shape(tensor.path, name, tensor.shape, shape)
        return check_values(tensor.path, name, tensor.float32())

    def layer(index):
        prefix = f"model.layers.{index}."
        arrays = {
            name: take(f"{prefix}{foreign}.weight", shapes[name])
            for name, foreign in _LAYER.items()
        }
        for name in ("wq", "wk"):
            arrays[name] = _interleave(arrays[name], config.head_dim)
        return arrays

    shapes = describe(config).layer_shapes(0)
    own = {"embedding": take("model.embed_tokens.weight", (config.vocab_size, config.dim))}
    layers = [layer(index) for index in range(config.n_layers)]
    own["norm"] = take("model.norm.weight", (config.dim,))
    if config.tied:
        tensors.pop("lm_head.weight", None)
    else:
        own["head"] = take("lm_head.weight", (config.vocab_size, config.dim))
    _check_rest(tensors)
    tokenizer = _read_tokenizer(path, fields) if with_tokenizer else None
    return Model(config, own, layers, tokenizer)


def _interleave(rows, head_dim):
    """Rows ``i`` and ``i + head_dim / 2`` of each head become rows ``2i`` and ``2i + 1``."""
    halves = rows.reshape(-1, 2, head_dim // 2, rows.shape[1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _check_rest(tensors):
    """Refuse tensors that would change the result; biases of zeros do not."""
    for name, tensor in tensors.items():
        if name.endswith(_BUFFERS) or (name.endswith(".bias") and not tensor.float32().any()):
            continue
        raise CheckpointError(f"{tensor.path}: {name} is a tensor that a Llama model does not have")


def _read_tokenizer(path, fields):
    """The tokenizer, or None where there is none that can be used."""
    file = path / "tokenizer.json"
    if not file.exists():
        return None
    try:
        return tokenizer_json.read_tokenizer(file, *read_ends(path, fields))
    except UnsupportedTokenizerError as error:
        logging.getLogger(__name__).warning("%s: read without tokenizer", error)
        return None
