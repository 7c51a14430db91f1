"""Checkpoints: every foreign format to one :class:`~celosia.reference.model.Model`."""

import contextlib
import os
import re
from dataclasses import replace
from pathlib import Path

from celosia.reference.checkpoint import (
    gguf_file,
    hugging_face,
    llama2c,
    quantized_folder,
    sentencepiece_file,
    tokenizer_json,
)
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.files import check_file
from celosia.reference.checkpoint.known import FETCHED, KNOWN, fetch, locate

__all__ = ["FETCHED", "KNOWN", "CheckpointError", "fetch", "load", "load_tokenizer"]


def load(path, tokenizer=None):
    """The model in a llama2.c file, a Hugging Face directory, a GGUF file, a folder of ours; or of
    a known name.

    Where the format allows, float32 tensors stay mapped to the file.

    Parameters
    ----------
    path : str or Path
        A name in :data:`KNOWN` or :data:`FETCHED` comes before a file of that name.
    tokenizer : str or Path, optional
        A file to take the tokenizer from, instead of the checkpoint's own. A model may have no
        tokenizer at all.

    Raises
    ------
    CheckpointError
        If the model or the tokenizer cannot be loaded, or do not belong together.
    """
    given, named = str(path), locate(str(path))
    path = named or Path(path)
    if not path.exists():
        known = ", ".join((*KNOWN, *FETCHED))
        raise CheckpointError(f"{given}: no such file or directory, nor a known model ({known})")
    with _named(path):
        model = _reader(path).read_model(path, with_tokenizer=tokenizer is None)
    if tokenizer is not None:
        model = replace(model, tokenizer=load_tokenizer(tokenizer))
    _check_vocabulary(model, tokenizer or path)
    return replace(model, name=given if named else _name(path))


def _name(path):
    """A model's name: that of its file, without the ending of a format, or of its folder, in the
    cache of Hugging Face's hub the model's; bytes that are no text are U+FFFD."""
    whole = path.resolve() if path.name in ("", "..") else path
    name = whole.stem if whole.suffix in (".bin", ".gguf") and whole.is_file() else whole.name
    hub = re.search(r"models--(?:.+--)?([^/]+)/snapshots/[^/]+$", whole.absolute().as_posix())
    return os.fsencode(hub[1] if hub and whole.is_dir() else name).decode("utf-8", "replace")


def load_tokenizer(path):
    """The tokenizer in a llama2.c tok*.bin, a tokenizer.json, a tokenizer.model of SentencePiece,
    a directory of one of these two, or a GGUF file.

    Raises
    ------
    CheckpointError
        If there is none or it cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        names = [path / "tokenizer.json", path / "tokenizer.model"]
        path = next((name for name in names if name.exists()), names[0])
    with _named(path):
        if path.suffix == ".json":
            return tokenizer_json.read_tokenizer(path)
        if path.suffix == ".model":
            return sentencepiece_file.read_tokenizer(path)
        return _file_reader(path).read_tokenizer(path)


def _reader(path):
    if path.is_dir():
        return quantized_folder if quantized_folder.is_one(path) else hugging_face
    return _file_reader(path)


def _file_reader(path):
    if path.suffix in (".safetensors", ".json"):
        raise CheckpointError(f"{path}: give the directory that holds config.json and this file")
    check_file(path)
    with path.open("rb") as file:
        return gguf_file if file.read(4) == b"GGUF" else llama2c


@contextlib.contextmanager
def _named(path):
    """Errors within, as a CheckpointError that begins with the file's path."""
    try:
        yield
    except CheckpointError:
        raise
    except OSError as error:
        name = error.filename or path
        raise CheckpointError(f"{name}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _check_vocabulary(model, source):
    """Refuse a vocabulary larger than the model's; tokens added to it may lie beyond."""
    tokenizer, vocab_size = model.tokenizer, model.config.vocab_size
    if tokenizer is not None and tokenizer.n_own > vocab_size:
        raise CheckpointError(
            f"{source}: the tokenizer has {tokenizer.n_own} tokens, "
            f"more than the model's vocab_size, {vocab_size}"
        )
