"""Foreign values as msgspec's structures: what a file must hold, and errors that name the field."""

import re
from typing import Annotated, Any

import msgspec
from celosia.reference.checkpoint.error import CheckpointError

from celosia.printable import shown

__all__ = ["Count", "Size", "convert", "explain"]

#: A number of things, and one of at least one thing.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Size = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]

_NOTHING = object()


def convert(values, schema, path, prefix="") -> Any:
    """``values``, as a parser gave them, as the msgspec type ``schema``.

    Parameters
    ----------
    values : dict or list
    schema : type
    path : str or Path
        The file, for messages.
    prefix : str
        Where in the file the values stand, with a full stop after it, for messages.

    Raises
    ------
    CheckpointError
        If they are something else; the message names the file and the field.
    """
    try:
        return msgspec.convert(values, schema)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: {explain(error, values, prefix)}") from None
    except RecursionError:
        raise CheckpointError(
            f"{path}: {prefix.rstrip('.') or 'values'}: nested too deeply"
        ) from None


def explain(error, values=_NOTHING, prefix=""):
    """A msgspec.ValidationError in our words: ``field: value is of the wrong type (expected x)``.

    Without the ``values`` the message says the type that was found instead of the value.
    """
    text, _, place = str(error).partition(" - at `")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        parts = [place.removesuffix("`").removeprefix("$").removeprefix("."), missing[1]]
        return f"{prefix}{'.'.join(filter(None, parts))}: is missing"
    field = place.removesuffix("`").removeprefix("$").removeprefix(".")
    name = f"{prefix}{field}".rstrip(".")
    text = text.replace("`", "")
    kind = re.fullmatch(r"Expected (.*), got (.*)", text)
    whole = not field and isinstance(values, dict | list)
    value = _NOTHING if whole else _value(values, field)
    start = f"{name}: " if name else ""
    if kind is None:
        must = re.sub("^Expected (?:int |float )?", "must be ", text)
        return f"{start}{must}" + ("" if value is _NOTHING else f", not {shown(value)}")
    found = kind[2] if value is _NOTHING else shown(value)
    return f"{start}{found} is of the wrong type (expected {kind[1].replace(' |', ' or')})"


def _value(values, field):
    """What stands at ``field``, if it can be told."""
    for part in [field] if isinstance(values, dict) and field in values else _parts(field):
        try:
            values = values[part]
        except (TypeError, KeyError, IndexError):
            return _NOTHING
    return values


def _parts(field):
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]", field):
        yield int(index) if index.isdigit() else name or index
