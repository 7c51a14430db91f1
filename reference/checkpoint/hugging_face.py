"""Hugging Face directories: config.json, *.safetensors, tokenizer.json; of any family."""

import logging
import re
from dataclasses import replace

import numpy as np
from celosia.reference.checkpoint import packed, packed_codes, sentencepiece_file, tokenizer_json
from celosia.reference.checkpoint.error import CheckpointError, UnsupportedTokenizerError
from celosia.reference.checkpoint.family_file import TensorFile, model_tensors
from celosia.reference.checkpoint.hugging_face_config import read_config, read_ends
from celosia.reference.checkpoint.hugging_face_files import check_folder, read_files
from celosia.reference.model import Model

__all__ = ["read_model", "read_tokenizer"]

#: Buffers that conversions left behind: what they hold is computed from the configuration.
_BUFFERS = (r"rotary_emb\.inv_freq$", r"\.masked_bias$")


def read_model(path, with_tokenizer=True):
    """The model in a directory, whose family says where its tensors are.

    A head that is in the files is used, also where config.json says that it is the embedding.
    A directory without tokenizer.json and tokenizer.model gives a model without tokenizer.
    """
    check_folder(path)
    config, family, fields, packing = read_config(path)
    names = family.hugging_face.names(config, fields)
    tensors = _renamed(read_files(path), names.aliases)
    if packing:
        tensors = packed.unpacked(tensors, packing)
    if config.tied and _has_own_head(tensors, names):
        text = "%s: tie_word_embeddings: not heeded, the files have a head of their own"
        logging.getLogger(__name__).warning(text, path / "config.json")
        config = replace(config, tied=False)
    size = sum(len(tensor.raw) for tensor in tensors.values())
    file = TensorFile(tensors.get, path, len(tensors), size)
    own, layers = model_tensors(config, names, file)
    ignored = (*_BUFFERS, *names.ignored, *((r"^lm_head\.weight$",) if config.tied else ()))
    for name, tensor in tensors.items():
        if tensor.name not in file.used and not any(re.search(each, name) for each in ignored):
            _check_bias(tensor, family)
    tokenizer = read_tokenizer(path, config) if with_tokenizer else None
    model = Model(config, own, layers, tokenizer)
    if not packing:
        return model
    codes = packed_codes.codes_of(model.description, names, tensors, own, layers)
    return replace(model, codes=codes, settings=packed_codes.settings_of(packing, codes))


def _has_own_head(tensors, names):
    """Whether there is a head that differs from the embedding."""
    head, embedding = (tensors.get(f"{names.own[n]}.weight") for n in ("head", "embedding"))
    if head is None or embedding is None:
        return False
    return not np.array_equal(head.float32(), embedding.float32())


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


def read_tokenizer(path, config):
    """The tokenizer, or None where there is none that can be used."""
    json, model = path / "tokenizer.json", path / "tokenizer.model"
    if not (json.exists() or model.exists()):
        return None
    bos, ends = read_ends(path, config.vocab_size)
    try:
        if json.exists():
            return tokenizer_json.read_tokenizer(json, bos, ends)
        return sentencepiece_file.read_tokenizer(model, ends)
    except UnsupportedTokenizerError as error:
        logging.getLogger(__name__).warning("%s: read without tokenizer", error)
        return None
