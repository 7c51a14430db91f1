"""The safetensors format: tensors of F32, F16 and BF16 as float32, and some of integers."""

import math
import struct
from typing import Annotated

import msgspec
import numpy as np
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.files import map_file
from celosia.reference.checkpoint.foreign_json import parse_json
from celosia.reference.checkpoint.schema import convert

__all__ = ["bfloat16", "read_tensors"]

HEADER_LIMIT = 16 << 20  # bytes


def bfloat16(bits):
    """The float32 values of ``bits``, uint16[...]: the upper halves of float32's own bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


_TYPES = {
    "F32": ("<f4", lambda raw: raw),
    "F16": ("<f2", lambda raw: raw.astype(np.float32)),
    "BF16": ("<u2", bfloat16),
}

_INTEGERS = {"U8": "u1", "I8": "i1", "I32": "<i4"}

_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Entry(msgspec.Struct):
    """What the header says of a tensor."""

    dtype: str
    shape: Annotated[list[_Whole], msgspec.Meta(max_length=8)]
    data_offsets: tuple[_Whole, _Whole]


class _Tensor:
    """One tensor of a file, converted when it is asked for."""

    def __init__(self, path, name, kind, shape, raw):
        self.path = path
        self.name = name
        self.kind = kind
        self.shape = shape
        self.raw = raw  # uint8[bytes], mapped

    def float32(self):
        """float32[shape]: mapped to the file if it holds F32, else a copy."""
        if self.kind not in _TYPES:
            supported = ", ".join(_TYPES)
            raise CheckpointError(
                f"{self.path}: {self.name}: dtype {self.kind} is not supported (only {supported})"
            )
        storage, convert = _TYPES[self.kind]
        return np.require(convert(self._stored(storage)), np.float32, "A")

    def array(self):
        """Its values as they are, mapped to the file: of integers; else float32[shape]."""
        if self.kind in _INTEGERS:
            return self._stored(_INTEGERS[self.kind])
        return self.float32()

    def bytes(self):
        """uint8[shape], mapped to the file, of a tensor of the kind "U8"."""
        return self._stored("u1")

    def _stored(self, storage):
        expected = math.prod(self.shape) * np.dtype(storage).itemsize
        if len(self.raw) != expected:
            raise CheckpointError(
                f"{self.path}: {self.name}: {list(self.shape)} {self.kind} takes {expected} bytes, "
                f"not {len(self.raw)}"
            )
        return self.raw.view(storage).reshape(self.shape)


def read_tensors(path):
    """A dict from each tensor's name to an object with ``shape``, ``kind``, ``float32()`` and
    ``array()``.

    Raises
    ------
    CheckpointError
        If the file is cut short, its header is not what the format says, or its tensors do not
        fill it one after the other.
    OSError
        If it cannot be read.
    """
    data = map_file(path)
    if len(data) < 8:
        raise CheckpointError(f"{path}: the file ends within the header's length")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    if 8 + length > len(data):
        raise CheckpointError(f"{path}: the file ends within the header ({length} bytes long)")
    if length > HEADER_LIMIT:
        raise CheckpointError(f"{path}: the header has more than {HEADER_LIMIT >> 20} MiB")
    header = parse_json(data[8 : 8 + length].tobytes(), path, "safetensors header")
    convert(header.pop("__metadata__", {}), dict[str, str], path, "__metadata__.")
    entries = {name: convert(each, _Entry, path, f"{name}.") for name, each in header.items()}
    data = data[8 + length :]
    _check_places(path, entries, len(data))
    return {
        name: _Tensor(path, name, each.dtype, tuple(each.shape), data[slice(*each.data_offsets)])
        for name, each in entries.items()
    }


def _check_places(path, entries, size):
    """Refuse tensors that overlap, leave holes, or do not end with the file."""
    last, end = "the header", 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        first, after = entry.data_offsets
        if first > after:
            raise CheckpointError(f"{path}: {name}.data_offsets: {[first, after]} is wrong")
        if after > size:
            raise CheckpointError(f"{path}: {name}: the file ends within this tensor")
        if first != end:
            fault = "overlaps" if first < end else "leaves a hole after"
            raise CheckpointError(
                f"{path}: {name}.data_offsets: {[first, after]} {fault} {last}, which ends at {end}"
            )
        last, end = name, after
    if end != size:
        raise CheckpointError(f"{path}: {size - end} bytes follow the last tensor")
