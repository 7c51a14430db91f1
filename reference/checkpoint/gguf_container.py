"""The GGUF container: metadata, and tensors as float32.

The layout is that of the GGUF specification, versions 2 and 3, little-endian.
"""

import math
import struct

import numpy as np
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.files import map_file
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Kind
from gguf.quants import dequantize

from celosia.printable import shown

__all__ = ["Container"]

_SCALARS = dict(enumerate(("u1", "i1", "u2", "i2", "u4", "i4", "f4", "?")))
_SCALARS |= {10: "u8", 11: "i8", 12: "f8"}
_STRING, _ARRAY, _BOOL = 8, 9, "?"

HEADER_LIMIT = 64 << 20  # bytes of the metadata and the tensors' descriptions
_ALIGNMENTS = tuple(1 << n for n in range(3, 21))
MOST_VALUES = 1 << 22  # in the arrays of a file
DEEPEST = 4  # arrays within arrays


#: By number: name, values and bytes in a block.
_TYPES = {
    kind.value: (kind.name, *GGML_QUANT_SIZES[kind])
    for kind in (
        *(Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1),
        *(Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.TQ1_0, Kind.TQ2_0),
    )
}


def _float32(data, kind):
    """The values of uint8[..., bytes]."""
    with np.errstate(all="ignore"):  # whoever asks looks at the values
        return dequantize(data, kind)


class Container:
    """A GGUF file, mapped to memory.

    Parameters
    ----------
    path : Path

    Members
    -------
    fields : dict of str to bool, int, float, str or list
        The metadata.
    metadata : bytes
        From the beginning of the file to the end of these.
    shapes : dict of str to tuple of int
        The tensors' shapes in NumPy's order, ``(output, input)``.
    size : int
        Bytes of the file.

    Raises
    ------
    CheckpointError
        If the file is cut short or is not what the format says; the message names the field or
        tensor.
    """

    def __init__(self, path):
        self.path = path
        self._data = map_file(path)
        self.size = len(self._data)
        self._offset = 0
        self._values = 0
        self._reading = "the header"
        self._read_header()
        self._check_places()

    def _read_header(self):
        if self._take(4) != b"GGUF":
            raise CheckpointError(f"{self.path}: no GGUF file")
        version = self._scalar("u4")
        if version & 0xFFFF == 0:
            raise CheckpointError(f"{self.path}: a GGUF file for big-endian machines")
        if version not in (2, 3):
            raise CheckpointError(f"{self.path}: GGUF version {version} is not supported (2 and 3)")
        n_tensors, n_fields = self._scalar("u8"), self._scalar("u8")
        self.fields = {}
        for index in range(n_fields):
            self._reading = f"metadata field {index}"
            name = self._reading = self._string()
            if name in self.fields:
                raise CheckpointError(f"{self.path}: {name} is there twice")
            self.fields[name] = self._value(self._scalar("u4"))
        self.metadata = self._data[: self._offset].tobytes()
        self.shapes, self._places = {}, {}
        for index in range(n_tensors):
            self._describe(index)
        self._reading = "the header"
        self._alignment = self.fields.get("general.alignment", 32)
        if type(self._alignment) is not int or self._alignment not in _ALIGNMENTS:
            raise CheckpointError(
                f"{self.path}: general.alignment: {shown(self._alignment)} is wrong"
            )
        self._start = -(-self._offset // self._alignment) * self._alignment

    def _describe(self, index):
        self._reading = f"the description of tensor {index}"
        name = self._string()
        self._reading = f"the description of {name}"
        if name in self.shapes:
            raise CheckpointError(f"{self.path}: {name} is described twice")
        n_dims = self._scalar("u4")
        if n_dims not in range(1, 5):
            raise CheckpointError(f"{self.path}: {name} must have 1 to 4 dimensions, not {n_dims}")
        self.shapes[name] = tuple(reversed([self._scalar("u8") for _ in range(n_dims)]))
        self._places[name] = self._scalar("u4"), self._scalar("u8")

    def _check_places(self):
        """Refuse tensors that overlap or do not begin at a multiple of the alignment."""
        last, end = None, 0
        for name, (number, offset) in sorted(self._places.items(), key=lambda item: item[1][1]):
            if offset % self._alignment:
                raise CheckpointError(
                    f"{self.path}: {name}: offset {offset} is no multiple of {self._alignment}"
                )
            if offset < end:
                raise CheckpointError(f"{self.path}: {name}: overlaps {last}")
            _, values, size = _TYPES.get(number, (None, 1, 0))
            last, end = name, offset + math.prod(self.shapes[name]) // values * size

    def part(self, name):
        """What holds the tensor ``name``: this file, where it is whole."""
        return self

    def kind(self, name):
        """The name of the tensor's type, or its number."""
        number, _ = self._places[name]
        return _TYPES[number][0] if number in _TYPES else str(number)

    def float32(self, name):
        """The tensor ``name``, float32[shape]: mapped to the file if it holds F32, else a copy."""
        number, offset = self._places[name]
        if number not in _TYPES:
            kind = next((k.name for k in Kind if k == number), f"number {number}")
            supported = ", ".join(name for name, *_ in _TYPES.values())
            raise CheckpointError(
                f"{self.path}: {name}: type {kind} is not supported (only {supported})"
            )
        kind, values, size = _TYPES[number]
        shape = self.shapes[name]
        if shape[-1] % values:
            raise CheckpointError(
                f"{self.path}: {name}: {list(shape)} has no whole blocks of {values} for {kind}"
            )
        n_blocks = math.prod(shape) // values
        begin, end = self._start + offset, self._start + offset + n_blocks * size
        if end > len(self._data):
            raise CheckpointError(f"{self.path}: {name}: the file ends within this tensor")
        data = self._data[begin:end].reshape(*shape[:-1], shape[-1] // values * size)
        return np.require(_float32(data, Kind(number)), np.float32, "A")

    def _take(self, size):
        begin, end = self._offset, self._offset + size
        if end > len(self._data):
            raise CheckpointError(f"{self.path}: the file ends within {self._reading}")
        if end > HEADER_LIMIT:
            raise CheckpointError(
                f"{self.path}: {self._reading} ends more than {HEADER_LIMIT >> 20} MiB from the "
                "beginning"
            )
        self._offset = end
        return self._data[begin:end].tobytes()

    def _scalar(self, kind):
        (value,) = self._array(kind, 1)
        # A float32 is meant as the shortest decimal that it is nearest to: 1e-05, not 9.99...e-06.
        return float(str(np.float32(value))) if kind == "f4" else value

    def _array(self, kind, length):
        data = self._take(length * np.dtype(kind).itemsize)
        if kind == _BOOL and data.strip(b"\0\1"):
            raise CheckpointError(f"{self.path}: {self._reading}: a bool is neither 0 nor 1")
        return np.frombuffer(data, np.dtype(kind).newbyteorder("<")).tolist()

    def _string(self):
        (length,) = struct.unpack("<Q", self._take(8))
        return self._take(length).decode("utf-8", "surrogateescape")

    def _value(self, number, depth=0):
        if number == _STRING:
            return self._string()
        if number == _ARRAY:
            member, length = self._scalar("u4"), self._scalar("u8")
            self._values += length
            if self._values > MOST_VALUES:
                raise CheckpointError(
                    f"{self.path}: {self._reading}: more than {MOST_VALUES:,} values in arrays"
                )
            if member in _SCALARS:
                return self._array(_SCALARS[member], length)
            if depth == DEEPEST:
                raise CheckpointError(f"{self.path}: {self._reading}: nested too deeply")
            return [self._value(member, depth + 1) for _ in range(length)]
        if number not in _SCALARS:
            raise CheckpointError(f"{self.path}: {self._reading} has the unknown type {number}")
        return self._scalar(_SCALARS[number])
