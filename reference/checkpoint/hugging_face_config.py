"""config.json and generation_config.json: the family, its fields, the tokens that end a text."""

import msgspec
from celosia.reference.checkpoint.error import CheckpointError, spelled
from celosia.reference.checkpoint.family_file import check_fields, find_family, our_names
from celosia.reference.checkpoint.files import read_text
from celosia.reference.checkpoint.foreign_json import LIMIT, parse_json, read_json
from celosia.reference.checkpoint.packed import read_packing
from celosia.reference.checkpoint.schema import convert
from celosia.reference.model import ModelConfig

__all__ = ["read_config", "read_ends"]

_Token = int | list[int] | None


class _Kind(msgspec.Struct):
    """Which model it is; the fields of a text model beside others are in ``text_config``."""

    architectures: list[str] | None = None
    model_type: str | None = None
    text_config: dict | None = None


class _Ends(msgspec.Struct):
    """Tokens that begin and end a text."""

    bos_token_id: int | None = None
    eos_token_id: _Token = None


def read_config(path):
    """The ModelConfig, the family, its fields and the Packing or None that config.json describes.

    Raises
    ------
    CheckpointError
        If it is not there, a field is not what it should be, or the model is of another kind.
    """
    path = path / "config.json"
    if not path.exists():
        raise CheckpointError(f"{path}: no such file")
    packing, values = read_packing(path, parse_json(_text(path), path))
    kind = convert(values, _Kind, path)
    rest = "hugging_face", values
    if kind.architectures:
        family = find_family(path, "architectures", kind.architectures[0], *rest)
    elif kind.architectures is None:
        family = find_family(path, "model_type", kind.model_type, *rest)
    else:
        raise CheckpointError(f"{path}: architectures: names none")
    form, prefix = family.hugging_face, ""
    if kind.text_config is not None:
        values, prefix = kind.text_config | _outer(values), "text_config."
    check_fields(path, values, family, "hugging_face", prefix)
    fields = convert(values, form.fields, path, prefix)
    with spelled(path, our_names(form.fields)):
        config = ModelConfig(**form.config(fields), family=family.name)
    return config, family, fields, packing


def _outer(values):
    return {name: values[name] for name in ("tie_word_embeddings",) if name in values}


def _text(path):
    try:
        return read_text(path, LIMIT)
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def read_ends(path, vocab_size):
    """The begin token, or None, and the end tokens, as config.json and generation_config.json say.

    Raises
    ------
    CheckpointError
        If one is no token of the model.
    """
    file = path / "config.json"
    given = read_json(file, _Ends)
    bos, ends = given.bos_token_id, _tokens(given.eos_token_id)
    _check_tokens(file, vocab_size, bos_token_id=_tokens(bos))
    _check_tokens(file, vocab_size, eos_token_id=ends)
    file = path / "generation_config.json"
    if file.exists():
        more = _tokens(read_json(file, _Ends).eos_token_id)
        _check_tokens(file, vocab_size, eos_token_id=more)
        ends += [token for token in more if token not in ends]
    return bos, tuple(ends)


def _tokens(value):
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def _check_tokens(path, vocab_size, **named):
    for name, tokens in named.items():
        for token in tokens:
            if token not in range(vocab_size):
                raise CheckpointError(f"{path}: {name}: {token} is no token")
