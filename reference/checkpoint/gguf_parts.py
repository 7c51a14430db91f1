"""GGUF files that were split into NAME-00001-of-0000N.gguf: read as one."""

import re

import msgspec
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.gguf_container import Container
from celosia.reference.checkpoint.schema import Count, convert

__all__ = ["open_gguf"]

MOST_PARTS = 1000
_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


class _Part(msgspec.Struct, rename={"number": "split.no", "count": "split.count"}):
    """Which part of a split file this is."""

    number: Count = 0
    count: Count = 0


class _Joined:
    """The parts of a file, as the one :class:`Container` that they were; the first has its fields.

    A tensor's messages name the part that holds it.
    """

    def __init__(self, path, parts):
        self.path, self.fields = path, parts[0].fields
        self._parts = {}
        for part in parts:
            for name in part.shapes:
                if name in self._parts:
                    other = self._parts[name].path
                    raise CheckpointError(f"{part.path}: {name} is in {other.name}, too")
                self._parts[name] = part
        self.shapes = {name: part.shapes[name] for name, part in self._parts.items()}
        self.size = sum(part.size for part in parts)

    def part(self, name):
        """The part that holds a tensor."""
        return self._parts[name]


def open_gguf(path):
    """The GGUF file at ``path``, or all the parts of which it is one.

    Parameters
    ----------
    path : Path

    Returns
    -------
    object with ``path``, ``fields``, ``shapes``, ``size`` and ``part(name)``
        As :class:`Container`, which has the types and values of its tensors.

    Raises
    ------
    CheckpointError
        If a part is missing, or is no part of this file.
    """
    container = Container(path)
    whole = _part(container)
    if whole.count < 2:
        return container
    found = _NAME.fullmatch(path.name)
    if not found or (int(found[2]), int(found[3])) != (whole.number + 1, whole.count):
        raise CheckpointError(
            f"{path}: split.count: part {whole.number + 1} of {whole.count} of a split file, whose "
            f"name must end in -{whole.number + 1:05}-of-{whole.count:05}.gguf"
        )
    if whole.count > MOST_PARTS:
        raise CheckpointError(f"{path}: split.count must be at most {MOST_PARTS}")
    parts = []
    for number in range(whole.count):
        other = path.with_name(f"{found[1]}-{number + 1:05}-of-{whole.count:05}.gguf")
        if not other.is_file():
            raise CheckpointError(f"{path}: its part {other.name} is not beside it")
        parts.append(container if number == whole.number else Container(other))
        if _part(parts[-1]) != _Part(number, whole.count):
            raise CheckpointError(
                f"{other}: split.no and split.count do not say part {number + 1} of {whole.count}"
            )
    return _Joined(path, parts)


def _part(container):
    return convert(container.fields, _Part, container.path)
