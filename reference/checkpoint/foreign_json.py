"""Foreign JSON: parsed within bounds, refused where it says two things, checked by a schema."""

import json

from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.files import read_text
from celosia.reference.checkpoint.schema import convert

__all__ = ["LIMIT", "parse_json", "read_json"]

LIMIT = 16 << 20  # bytes of a file


def read_json(path, schema):
    """The JSON object in the file ``path``, as the msgspec structure ``schema``.

    Raises
    ------
    CheckpointError
        If the file holds something else; the message names the file and the field.
    OSError
        If the file cannot be read, or has more than 16 MiB.
    """
    try:
        text = read_text(path, LIMIT)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    return convert(parse_json(text, path), schema, path)


def parse_json(text, path, what="JSON"):
    """The dict of a JSON object in UTF-8; ``what`` it should be is named in messages.

    Raises
    ------
    CheckpointError
        If ``text`` is something else, nested too deeply, or names a member twice.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        values = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise CheckpointError(f"{path}: no {what}: nested too deeply") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: no {what}: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: no {what} object")
    return values


def _unique(pairs):
    values = dict(pairs)
    if len(values) < len(pairs):
        seen = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{name!r} is there twice")
    return values
