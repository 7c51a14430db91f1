"""The files that a model's tokenizer is read from, as a folder of ours keeps them."""

import struct
from pathlib import Path

from celosia.reference.checkpoint.files import read_file
from celosia.reference.checkpoint.gguf_container import Container

__all__ = ["tokenizer_files"]

LIMIT = 1 << 28  # bytes
_MAIN = ("tokenizer.json", "tokenizer.model")
_BESIDE = ("tokenizer_config.json", "chat_template.jinja")
_OF_MODEL = ("config.json", "generation_config.json")


def tokenizer_files(model, tokenizer=None):
    """Names and contents of the files.

    Parameters
    ----------
    model : Path
        Of the checkpoint.
    tokenizer : Path, optional
        Of a tokenizer's own file, instead.

    Returns
    -------
    dict of str to bytes
    """
    path = Path(model if tokenizer is None else tokenizer)
    if path.is_dir():
        names = _BESIDE + (_OF_MODEL if tokenizer is None else ())
        return _those(path, (*_MAIN, *names))
    if path.suffix in (".json", ".model"):
        main = f"tokenizer{path.suffix}"
        return {main: read_file(path, LIMIT), **_those(path.parent, _BESIDE)}
    with path.open("rb") as file:
        gguf = file.read(4) == b"GGUF"
    if gguf:
        return {"tokenizer.gguf": _header(path)}
    return {} if tokenizer is None else {"tokenizer.bin": read_file(path, LIMIT)}


def _those(folder, names):
    return {n: read_file(folder / n, LIMIT) for n in names if (folder / n).is_file()}


def _header(path):
    """A GGUF file's metadata, without its tensors."""
    data = Container(path).metadata
    return data[:8] + struct.pack("<Q", 0) + data[16:]
