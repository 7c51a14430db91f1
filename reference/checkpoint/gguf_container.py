"""The GGUF container: metadata, and tensors of F32, F16, BF16, Q8_0, Q4_0 and Q4_1 as float32.

The layout is that of the GGUF specification, versions 2 and 3, little-endian.
"""

import math
import struct

import numpy as np
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.files import map_file
from celosia.reference.checkpoint.safetensors_file import bfloat16

from celosia.printable import shown

__all__ = ["Container"]

_SCALARS = dict(enumerate(("u1", "i1", "u2", "i2", "u4", "i4", "f4", "?")))
_SCALARS |= {10: "u8", 11: "i8", 12: "f8"}
_STRING, _ARRAY, _BOOL = 8, 9, "?"

HEADER_LIMIT = 64 << 20  # bytes of the metadata and the tensors' descriptions
_ALIGNMENTS = tuple(1 << n for n in range(3, 21))
MOST_VALUES = 1 << 22  # in the arrays of a file
DEEPEST = 4  # arrays within arrays


def _q8_0(blocks):
    """``scale * q``: float16, 32 int8."""
    return _scale(blocks, 0) * blocks[:, 2:].view(np.int8)


def _q4_0(blocks):
    """``scale * (q - 8)``: float16, then 16 bytes with values 0 to 15 below, 16 to 31 above."""
    return _scale(blocks, 0) * (_nibbles(blocks[:, 2:]) - np.float32(8))


def _q4_1(blocks):
    """``scale * q + minimum``: two float16, then as in Q4_0."""
    return _scale(blocks, 0) * _nibbles(blocks[:, 4:]) + _scale(blocks, 2)


def _scale(blocks, at):
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(packed):
    return np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)


#: By number: name, values and bytes in a block, and the float32 values of uint8[blocks, bytes].
_TYPES = {
    0: ("F32", 1, 4, lambda blocks: blocks.view("<f4")),
    1: ("F16", 1, 2, lambda blocks: blocks.view("<f2").astype(np.float32)),
    2: ("Q4_0", 32, 18, _q4_0),
    3: ("Q4_1", 32, 20, _q4_1),
    8: ("Q8_0", 32, 34, _q8_0),
    30: ("BF16", 1, 2, lambda blocks: bfloat16(blocks.view("<u2"))),
}
_OTHER_TYPES = {6: "Q5_0", 7: "Q5_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K"}


class Container:
    """A GGUF file, mapped to memory.

    Parameters
    ----------
    path : Path

    Members
    -------
    fields : dict of str to bool, int, float, str or list
        The metadata.
    shapes : dict of str to tuple of int
        The tensors' shapes in NumPy's order, ``(output, input)``.

    Raises
    ------
    CheckpointError
        If the file is cut short or is not what the format says; the message names the field or
        tensor.
    """

    def __init__(self, path):
        self.path = path
        self._data = map_file(path)
        self._offset = 0
        self._values = 0
        self._reading = "the header"
        self._read_header()
        self._check_places()

    def _read_header(self):
        if self._take(4) != b"GGUF":
            raise CheckpointError(f"{self.path}: no GGUF file")
        version = self._scalar("u4")
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
            _, values, size, _ = _TYPES.get(number, (None, 1, 0, None))
            last, end = name, offset + math.prod(self.shapes[name]) // values * size

    def float32(self, name):
        """The tensor ``name``, float32[shape]: mapped to the file if it holds F32, else a copy."""
        number, offset = self._places[name]
        if number not in _TYPES:
            kind = _OTHER_TYPES.get(number, f"number {number}")
            supported = ", ".join(kind for kind, *_ in _TYPES.values())
            raise CheckpointError(
                f"{self.path}: {name}: type {kind} is not supported (only {supported})"
            )
        kind, values, size, convert = _TYPES[number]
        shape = self.shapes[name]
        if shape[-1] % values:
            raise CheckpointError(
                f"{self.path}: {name}: {list(shape)} has no whole blocks of {values} for {kind}"
            )
        n_blocks = math.prod(shape) // values
        begin, end = self._start + offset, self._start + offset + n_blocks * size
        if end > len(self._data):
            raise CheckpointError(f"{self.path}: {name}: the file ends within this tensor")
        blocks = self._data[begin:end].reshape(n_blocks, size)
        return np.require(convert(blocks).reshape(shape), np.float32, "A")

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
