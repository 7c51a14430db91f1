"""Hugging Face directories: config.json, *.safetensors, tokenizer.json; of any family."""

import logging
import re

from celosia.reference.checkpoint import tokenizer_json
from celosia.reference.checkpoint.error import CheckpointError, UnsupportedTokenizerError
from celosia.reference.checkpoint.family_file import TensorFile, model_tensors
from celosia.reference.checkpoint.hugging_face_config import read_config, read_ends
from celosia.reference.checkpoint.hugging_face_files import read_files
from celosia.reference.model import Model

__all__ = ["read_model"]

#: Buffers that conversions left behind: what they hold is computed from the configuration.
_BUFFERS = (r"rotary_emb\.inv_freq$", r"\.masked_bias$")


def read_model(path, with_tokenizer=True):
    """The model in a directory, whose family says where its tensors are.

    A directory without tokenizer.json gives a model without tokenizer.
    """
    config, family, fields = read_config(path)
    names = family.hugging_face.names(config, fields)
    tensors = _renamed(read_files(path), names.aliases)
    size = sum(len(tensor.raw) for tensor in tensors.values())
    file = TensorFile(tensors.get, path, len(tensors), size)
    own, layers = model_tensors(config, names, file)
    ignored = (*_BUFFERS, *names.ignored, *((r"^lm_head\.weight$",) if config.tied else ()))
    for name, tensor in tensors.items():
        if tensor.name not in file.used and not any(re.search(each, name) for each in ignored):
            _check_bias(tensor, family)
    tokenizer = _read_tokenizer(path, config) if with_tokenizer else None
    return Model(config, own, layers, tokenizer)


def _renamed(tensors, aliases):
    """The tensors by the names of the family's tables."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, ours in aliases:
            name = re.sub(pattern, ours, name, count=1)
        if name in renamed:
            raise CheckpointError(f"{tensor.path}: {tensor.name} is {renamed[name].name} too")
        renamed[name] = tensor
    return renamed


def _check_bias(tensor, family):
    """Refuse a tensor that would change the result; a bias of zeros does not."""
    if not tensor.name.endswith(".bias") or tensor.float32().any():
        raise CheckpointError(
            f"{tensor.path}: {tensor.name} is a tensor that a model of the family {family.name} "
            "does not have"
        )


def _read_tokenizer(path, config):
    """The tokenizer, or None where there is none that can be used."""
    file = path / "tokenizer.json"
    if not file.exists():
        return None
    try:
        return tokenizer_json.read_tokenizer(file, *read_ends(path, config.vocab_size))
    except UnsupportedTokenizerError as error:
        logging.getLogger(__name__).warning("%s: read without tokenizer", error)
        return None
