"""Payloads of streams as Python values: ints, lists and dicts, to bits and back."""

import enum
import sys
from typing import Any

import numpy as np
from amaranth.hdl import Shape, ShapeCastable
from amaranth.lib import data

__all__ = ["decode", "encode"]


def _layout(shape) -> Any:
    """The layout of an aggregate shape, or None."""
    while isinstance(shape, ShapeCastable) and not isinstance(shape, data.Layout):
        shape = shape.as_shape()
    return shape if isinstance(shape, data.Layout) else None


def _lane_type(shape):
    """The NumPy type of an array layout's elements where they are 8, 16, 32 or 64 bits, or None."""
    element = shape.elem_shape
    if isinstance(element, int | Shape) and sys.byteorder == "little":
        cast = Shape.cast(element)
        if cast.width in (8, 16, 32, 64):
            return np.dtype(f"{'i' if cast.signed else 'u'}{cast.width // 8}")
    return None


def _integer(shape, value):
    cast = Shape.cast(shape)
    if isinstance(value, enum.Enum):
        value = value.value
    number = int(value)
    if number != value:
        raise ValueError(f"a payload must be a whole number, not {value!r}")
    low = -(1 << cast.width - 1) if cast.signed and cast.width else 0
    high = (1 << cast.width - cast.signed) - 1 if cast.width else 0
    if not low <= number <= high:
        raise ValueError(f"a payload of {cast!r} must be from {low} to {high}, not {number}")
    return number & ((1 << cast.width) - 1)


def encode(shape, value):
    """The bits of `value` in `shape`, as an int from 0 to ``2**width - 1``.

    Parameters
    ----------
    shape : ShapeLike
        A number's shape, an enumeration, or a layout of any depth.
    value : int, enum member, sequence, array or dict
        A sequence for an array layout, a dict by field name for any other layout; an int for a
        layout is taken as its bits.

    Raises
    ------
    ValueError
        If a number does not fit, or a sequence or dict has not the layout's elements.
    """
    layout = _layout(shape)
    if layout is None:
        return _integer(shape, value)
    if isinstance(value, data.Const):
        value = value.as_bits()
    if isinstance(value, int | np.integer):
        return _integer(Shape.cast(layout), value)
    if isinstance(layout, data.ArrayLayout):
        return _encode_array(layout, value)
    names = dict(layout)
    if isinstance(layout, data.UnionLayout):
        if len(value) != 1 or not value.keys() <= names.keys():
            raise ValueError(f"a union payload needs one of {[*names]}, not {[*value]}")
    elif value.keys() != names.keys():
        raise ValueError(f"a payload needs the fields {[*names]}, not {[*value]}")
    bits = 0
    for name, element in value.items():
        bits |= encode(names[name].shape, element) << names[name].offset
    return bits


def _encode_array(layout, value):
    if len(value) != layout.length:
        raise ValueError(f"a payload needs {layout.length} elements, not {len(value)}")
    lane = _lane_type(layout)
    numbers = np.asarray(value) if lane and layout.length >= 8 else None
    if numbers is not None and numbers.ndim == 1 and numbers.dtype.kind in "iu":
        info = np.iinfo(lane)
        if numbers.min() >= info.min and numbers.max() <= info.max:
            return int.from_bytes(numbers.astype(lane).tobytes(), "little")
    width = Shape.cast(layout.elem_shape).width
    bits = 0
    for index, element in enumerate(value):
        bits |= encode(layout.elem_shape, element) << index * width
    return bits


def decode(shape, bits):
    """The value of `bits` in `shape`: the inverse of :func:`encode`.

    Returns an int for a number or an enumeration, a list for an array layout and a dict by field
    name for any other layout.
    """
    layout = _layout(shape)
    if layout is None:
        cast = Shape.cast(shape)
        bits &= (1 << cast.width) - 1
        return bits - (1 << cast.width) if cast.signed and bits >> cast.width - 1 else bits
    if isinstance(layout, data.ArrayLayout):
        lane = _lane_type(layout)
        if lane:
            octets = bits.to_bytes(layout.length * lane.itemsize, "little")
            return np.frombuffer(octets, lane).tolist()
    names = {name: (field.shape, field.offset) for name, field in layout}
    values = {
        name: decode(inner, (bits >> offset) & ((1 << Shape.cast(inner).width) - 1))
        for name, (inner, offset) in names.items()
    }
    return [*values.values()] if isinstance(layout, data.ArrayLayout) else values
