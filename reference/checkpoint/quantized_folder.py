"""Our own checkpoints: a model in codes, as ``celosia quantize`` writes it.

A folder of ``celosia.json`` (sizes, description, settings, and how it was made),
``model.safetensors`` (:mod:`celosia.reference.quantization.coded_tensors`; those of layer ``n``
begin with ``layers.n.``), and the files of the tokenizer.
"""

import json
import re
from dataclasses import asdict, replace

import msgspec
import safetensors.numpy
from celosia.reference.checkpoint import gguf_file, hugging_face, llama2c, tokenizer_json
from celosia.reference.checkpoint import sentencepiece_file as sentencepiece
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.foreign_json import read_json
from celosia.reference.checkpoint.safetensors_file import read_tensors
from celosia.reference.checkpoint.schema import Size, convert
from celosia.reference.checkpoint.tensors import check_values
from celosia.reference.description import Description
from celosia.reference.model import Model, ModelConfig
from celosia.reference.operations import (
    Add,
    Attention,
    Cap,
    Clip,
    Copy,
    Embed,
    Experts,
    Gate,
    Hadamard,
    Linear,
    Norm,
    Recur,
    Rotate,
)
from celosia.reference.quantization.coded_tensors import pack, unpack

from celosia.printable import shown

__all__ = ["CONFIG", "is_one", "read_model", "write_model"]

CONFIG, TENSORS = "celosia.json", "model.safetensors"
FORMAT = 1

_KINDS = (
    *(Add, Attention, Cap, Clip, Copy, Embed),
    *(Experts, Gate, Hadamard, Linear, Norm, Recur, Rotate),
)
_OPERATIONS = {kind.__name__: kind for kind in _KINDS}

_Operation = dict[str, dict]


class _Config(msgspec.Struct):
    """The sizes: ModelConfig's, without what the description's rotations hold."""

    dim: Size
    hidden_dim: Size
    n_layers: Size
    n_heads: Size
    n_kv_heads: Size
    head_dim: Size
    vocab_size: Size
    seq_len: Size
    norm_eps: float
    tied: bool
    family: str
    options: dict


class _Description(msgspec.Struct):
    begin: list[_Operation]
    layers: list[list[_Operation]]
    end: list[_Operation]
    sizes: dict[str, Size]
    heads: dict[str, Size]


class _File(msgspec.Struct):
    """celosia.json; what says how it was made is not needed here."""

    format: int
    settings: dict[str, int | str]
    config: _Config
    description: _Description


def is_one(path):
    """Whether the folder is one of ours."""
    return (path / CONFIG).is_file()


def write_model(folder, model, made):
    """Write ``model`` into ``folder``, but for its tokenizer.

    ``made`` is what celosia.json says beside: how the model was made.
    """
    d = model.description
    names = _Config.__struct_fields__
    config = {name: value for name, value in asdict(model.config).items() if name in names}
    parts = {
        "begin": list(map(_written, d.begin)),
        "layers": [list(map(_written, layer)) for layer in d.layers],
        "end": list(map(_written, d.end)),
        "sizes": d.sizes,
        "heads": d.heads,
    }
    values = {"format": FORMAT, **made, "settings": model.settings}
    values |= {"config": config, "description": parts}
    text = json.dumps(values, indent=1) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    arrays = {}
    for index, tensors in [(None, model.tensors), *enumerate(model.layers)]:
        prefix = "" if index is None else f"layers.{index}."
        codes = {name: each for (layer, name), each in model.codes.items() if layer == index}
        packed = pack({n: t for n, t in tensors.items() if n not in codes}, codes)
        arrays |= {prefix + name: array for name, array in packed.items()}
    (folder / TENSORS).write_bytes(safetensors.numpy.save(arrays))


def _written(operation):
    return {type(operation).__name__: asdict(operation)}


def read_model(path, with_tokenizer=True):
    """The model in a folder.

    Raises
    ------
    CheckpointError
        If a file is not as it was written; the message names the field or tensor.
    """
    file = path / CONFIG
    given = read_json(file, _File)
    if given.format != FORMAT:
        raise CheckpointError(f"{file}: format: {given.format} is not supported (only {FORMAT})")
    d = given.description
    description = Description(
        begin=_operations(file, "begin", d.begin),
        layers=tuple(_operations(file, f"layers[{n}]", each) for n, each in enumerate(d.layers)),
        end=_operations(file, "end", d.end),
        sizes=d.sizes,
        heads=d.heads,
    )
    try:
        config = ModelConfig(**{name: getattr(given.config, name) for name in _names()})
        own, layers, codes = _tensors(path / TENSORS, len(description.layers))
        model = Model(config, own, layers, None, "", description, codes, given.settings)
    except KeyError as error:
        raise CheckpointError(f"{file}: description.sizes.{error.args[0]}: is missing") from None
    return replace(model, tokenizer=_tokenizer(path, config)) if with_tokenizer else model


def _names():
    return _Config.__struct_fields__


def _operations(file, place, values):
    """The operations of one part of the description."""
    found = []
    for index, value in enumerate(values):
        here = f"description.{place}[{index}]"
        if len(value) != 1 or next(iter(value)) not in _OPERATIONS:
            raise CheckpointError(f"{file}: {here}: {shown(list(value))} is no operation")
        ((name, members),) = value.items()
        found.append(convert(members, _OPERATIONS[name], file, f"{here}.{name}."))
    return tuple(found)


def _tensors(file, n_layers):
    """Tensors outside of the layers, the layers', and all codes."""
    parts = [{} for _ in range(n_layers + 1)]
    for name, tensor in read_tensors(file).items():
        inner = re.fullmatch(r"layers\.(\d{1,6})\.(.*)", name)
        index = int(inner[1]) if inner else -1
        if index >= n_layers:
            raise CheckpointError(f"{file}: {name}: there are {n_layers} layers")
        array = tensor.array()
        if array.dtype.kind == "f":
            check_values(file, name, array)
        parts[index][inner[2] if inner else name] = array
    found, codes = [], {}
    for index, arrays in zip([*range(n_layers), None], parts, strict=True):
        place = "" if index is None else f"layers.{index}."
        try:
            tensors, coded = unpack(arrays, place)
        except ValueError as error:
            raise CheckpointError(f"{file}: {error}") from None
        codes |= {(index, name): each for name, each in coded.items()}
        found.append(tensors | {name: each.float32() for name, each in coded.items()})
    return found[-1], found[:-1], codes


def _tokenizer(path, config):
    """The tokenizer of the folder's files; None without any."""
    for name, reader in (("tokenizer.gguf", gguf_file), ("tokenizer.bin", llama2c)):
        if (path / name).exists():
            return reader.read_tokenizer(path / name)
    if (path / "config.json").exists():
        return hugging_face.read_tokenizer(path, config)
    for name, reader in (("tokenizer.json", tokenizer_json), ("tokenizer.model", sentencepiece)):
        if (path / name).exists():
            return reader.read_tokenizer(path / name)
    return None
