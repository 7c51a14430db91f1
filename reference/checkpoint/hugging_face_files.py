"""Which files of a Hugging Face directory hold the tensors."""

import re

import msgspec
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.foreign_json import read_json
from celosia.reference.checkpoint.safetensors_file import read_tensors
from celosia.reference.checkpoint.schema import convert

from celosia.printable import shown

__all__ = ["check_folder", "read_files"]

_NAME = re.compile(r"[^/\\\0]+\.safetensors")


class _Index(msgspec.Struct):
    """model.safetensors.index.json: which file of the directory holds a tensor."""

    weight_map: dict


#: What lies in directories that are no model of this format, and what to do.
_OTHERS = {
    "adapter_config.json": "an adapter, not a model: merge it into the model that it belongs to",
    "*.gguf": "give the GGUF file itself: {}",
    "pytorch_model*.bin": "{} is a pickle of PyTorch, which may run code: convert to safetensors",
    "*.pth": "{} is a pickle of PyTorch, which may run code: convert to safetensors",
}


def check_folder(path):
    """Refuse a directory without config.json or tensors by what is there in their place.

    Raises
    ------
    CheckpointError
    """
    if (path / "config.json").exists() and any(path.glob("*.safetensors")):
        return
    for pattern, words in _OTHERS.items():
        for other in sorted(path.glob(pattern))[:1]:
            raise CheckpointError(f"{path}: {words.format(other.name)}")


def read_files(path):
    """Every tensor of the directory by name.

    As for other readers, model.safetensors comes before the files that an index names, and these
    before any other.

    Raises
    ------
    CheckpointError
        If there are none, a file is not as its format says, or the index and the files differ.
    OSError
        If a file cannot be read.
    """
    index = path / "model.safetensors.index.json"
    weight_map = read_json(index, _Index).weight_map if index.exists() else {}
    for name, file in weight_map.items():
        if not _NAME.fullmatch(convert(file, str, index, f"weight_map.{name}.")):
            raise CheckpointError(
                f"{index}: weight_map.{name}: {shown(file)} is no name of a .safetensors file "
                "of this directory"
            )
    single = path / "model.safetensors"
    if single.exists() or not weight_map:
        files = [single] if single.exists() else sorted(path.glob("*.safetensors"))
        if not files:
            raise CheckpointError(f"{path}: there is no .safetensors file")
        return _read_all(files)
    files = [path / name for name in sorted(set(weight_map.values()))]
    for file in files:
        if not file.exists():
            raise CheckpointError(f"{index}: weight_map: {file.name} is missing")
    tensors = _read_all(files)
    for name, file in weight_map.items():
        if name not in tensors or tensors[name].path.name != file:
            raise CheckpointError(f"{path / file}: {name} is missing")
    return tensors


def _read_all(files):
    tensors = {}
    for file in files:
        for name, tensor in read_tensors(file).items():
            if name in tensors:
                raise CheckpointError(f"{file}: {name} is in {tensors[name].path.name} too")
            tensors[name] = tensor
    return tensors
