"""GGUF files of any family, with their tokenizer."""

import logging

from celosia.reference.checkpoint import gguf_tokenizer
from celosia.reference.checkpoint.error import CheckpointError, UnsupportedTokenizerError, spelled
from celosia.reference.checkpoint.family_file import (
    TensorFile,
    check_fields,
    find_family,
    model_tensors,
    our_names,
)
from celosia.reference.checkpoint.gguf_parts import open_gguf
from celosia.reference.checkpoint.schema import convert
from celosia.reference.model import Model, ModelConfig

__all__ = ["read_model", "read_tokenizer"]

_FACTORS = "rope_freqs.weight"


class _Tensor:
    """One tensor of the container, as :class:`TensorFile` asks for it."""

    def __init__(self, container, name):
        self._container = container = container.part(name)
        self.path, self.name = container.path, name
        self.shape, self.kind = container.shapes[name], container.kind(name)

    def float32(self):
        return self._container.float32(self.name)


def read_model(path, with_tokenizer=True):
    """The model in a GGUF file, or in the parts of a split one.

    Without a tensor output.weight the head is tied. ``rope_freqs.weight`` becomes
    ``rope_factors``.
    """
    container = open_gguf(path)
    config, family, fields = _read_config(container)
    names = family.gguf.names(config, fields)
    shapes = container.shapes
    file = TensorFile(
        lambda name: _Tensor(container, name) if name in shapes else None,
        path,
        len(shapes),
        container.size,
    )
    own, layers = model_tensors(config, names, file)
    for name in shapes:
        if name not in file.used and name != _FACTORS:
            raise CheckpointError(
                f"{path}: {name} is a tensor that a model of the family {family.name} does not have"
            )
    tokenizer = None
    if with_tokenizer and "tokenizer.ggml.model" in container.fields:
        try:
            tokenizer = gguf_tokenizer.read_tokenizer(container)
        except UnsupportedTokenizerError as error:
            logging.getLogger(__name__).warning("%s: read without tokenizer", error)
    return Model(config, own, layers, tokenizer)


def read_tokenizer(path):
    """The tokenizer of a GGUF file, which need not hold a model."""
    return gguf_tokenizer.read_tokenizer(open_gguf(path))


def _read_config(container):
    """The ModelConfig, the family and its fields: of the metadata, and of which tensors exist."""
    path, shapes = container.path, container.shapes
    architecture = container.fields.get("general.architecture")
    prefix = f"{architecture}."
    values = {
        name.removeprefix(prefix): value
        for name, value in container.fields.items()
        if name.startswith(prefix)
    }
    family = find_family(path, "general.architecture", architecture, "gguf", values)
    check_fields(path, values, family, "gguf", prefix)
    if len(shapes.get("token_embd.weight", ())) != 2:
        raise CheckpointError(f"{path}: token_embd.weight is missing or no matrix")
    values |= {
        "vocab_size": shapes["token_embd.weight"][0],
        "tied": "output.weight" not in shapes,
        "attention_bias": "blk.0.attn_output.bias" in shapes,
        "mlp_bias": "blk.0.ffn_down.bias" in shapes,
    }
    fields = convert(values, family.gguf.fields, path, prefix)
    names = {ours: f"{prefix}{theirs}" for ours, theirs in our_names(family.gguf.fields).items()}
    with spelled(path, names | {"rope_factors": _FACTORS}):
        config = family.gguf.config(fields)
        if _FACTORS in shapes:
            config["rope_factors"] = _factors(container)
        return ModelConfig(**config, family=family.name), family, fields


def _factors(container):
    if len(container.shapes[_FACTORS]) != 1:
        raise CheckpointError(f"{container.path}: {_FACTORS} must have one dimension")
    return tuple(container.part(_FACTORS).float32(_FACTORS).tolist())
