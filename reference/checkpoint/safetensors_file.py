"""The safetensors format: tensors of F32, F16 and BF16 as float32."""

import json
import struct

import numpy as np
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.mapped import map_file

__all__ = ["bfloat16", "read_tensors"]


def bfloat16(bits):
    """The float32 values of ``bits``, uint16[...]: the upper halves of float32's own bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


_TYPES = {
    "F32": ("<f4", lambda raw: raw),
    "F16": ("<f2", lambda raw: raw.astype(np.float32)),
    "BF16": ("<u2", bfloat16),
}


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
        expected = int(np.prod(self.shape, dtype=object)) * np.dtype(storage).itemsize
        if len(self.raw) != expected:
            raise CheckpointError(
                f"{self.path}: {self.name}: {list(self.shape)} {self.kind} takes {expected} bytes, "
                f"not {len(self.raw)}"
            )
        values = convert(self.raw.view(storage).reshape(self.shape))
        return np.require(values, np.float32, "A")


def read_tensors(path):
    """A dict from each tensor's name to an object with ``shape``, ``kind`` and ``float32()``.

    Raises
    ------
    CheckpointError
        If the file is cut short or its header is not what the format says.
    """
    data = map_file(path)
    if len(data) < 8:
        raise CheckpointError(f"{path}: the file ends within the header's length")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    if 8 + length > len(data):
        raise CheckpointError(f"{path}: the file ends within the header ({length} bytes long)")
    try:
        header = json.loads(data[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        entries = {
            name: (entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
            for name, entry in header.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: the header is no safetensors header: {error}") from error
    data = data[8 + length :]
    for name, (_, shape, *span) in entries.items():
        numbers = [*shape, *span]
        whole = len(span) == 2 and all(isinstance(n, int) and n >= 0 for n in numbers)
        if not whole or span[0] > span[1]:
            raise CheckpointError(f"{path}: {name}: shape {shape} or data_offsets {span} is wrong")
        if span[1] > len(data):
            raise CheckpointError(f"{path}: {name}: the file ends within this tensor")
    return {
        name: _Tensor(path, name, kind, shape, data[begin:end])
        for name, (kind, shape, begin, end) in entries.items()
    }
