"""Tensors and codes as arrays of a file: two codes of 4 bits, or five of -1, 0 and 1, in a byte.

A coded matrix ``w`` is ``w.codes`` (int8[rows, columns], or uint8[rows, columns / 2, rounded up]:
even columns in the lower halves, plus 8) or ``w.trits``
(:mod:`celosia.reference.quantization.trits`), ``w.groups`` int32[columns], ``w.scales``
float32[rows, groups] and, where there are any, ``w.offsets``.
"""

import numpy as np
from celosia.reference.quantization.coded import Coded
from celosia.reference.quantization.trits import pack_trits, packed_size, unpack_trits

__all__ = ["pack", "unpack"]

PARTS = ("groups", "scales", "offsets")
FORMS = ("codes", "trits")


def pack(tensors, codes):
    """The arrays of ``tensors`` (dict of str to array) and ``codes`` (dict of str to Coded)."""
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    for name in sorted(codes):
        coded = codes[name]
        ternary = np.abs(coded.codes).max(initial=0) <= 1
        form, packed = ("trits", pack_trits) if ternary else ("codes", _halves)
        arrays[f"{name}.{form}"] = packed(coded.codes)
        arrays[f"{name}.groups"] = coded.groups.astype(np.int32)
        arrays[f"{name}.scales"] = np.ascontiguousarray(coded.scales, np.float32)
        if coded.offsets is not None:
            arrays[f"{name}.offsets"] = np.ascontiguousarray(coded.offsets, np.float32)
    return arrays


def unpack(arrays, place=""):
    """What :func:`pack` was given, as ``(tensors, codes)``; ``place`` comes before their names.

    Raises
    ------
    ValueError
        If an array has another shape than a part of it should; the message names it.
    """
    tensors, codes = {}, {}
    for name, array in arrays.items():
        weight, _, part = name.rpartition(".")
        if not weight or part not in PARTS + FORMS:
            tensors[name] = array
        elif part in FORMS:
            parts = [arrays.get(f"{weight}.{each}") for each in PARTS]
            codes[weight] = _coded(place + weight, part, array, *parts)
        elif not any(f"{weight}.{form}" in arrays for form in FORMS):
            raise ValueError(f"{place}{name}: there is no {place}{weight}.codes")
    return tensors, codes


def _halves(codes):
    if codes.max(initial=0) > 7 or codes.min(initial=0) < -8:
        return np.ascontiguousarray(codes)
    padded = np.pad(codes + 8, ((0, 0), (0, codes.shape[1] % 2))).astype(np.uint8)
    return np.ascontiguousarray(padded[:, ::2] | padded[:, 1::2] << 4)


def _coded(name, form, codes, groups, scales, offsets):
    if groups is None or scales is None:
        raise ValueError(f"{name}.{'groups' if groups is None else 'scales'} is missing")
    if groups.ndim != 1 or not len(groups) or (np.diff(groups) < 0).any() or groups[0] < 0:
        raise ValueError(f"{name}.groups must not decrease")
    n = int(groups[-1]) + 1
    codes = _unpacked(f"{name}.{form}", codes, len(groups), form == "trits")
    for part, array in (("scales", scales), ("offsets", offsets)):
        if array is not None and array.shape != (len(codes), n):
            shape = [len(codes), n]
            raise ValueError(f"{name}.{part} must have the shape {shape}, not {list(array.shape)}")
    if not np.isfinite(scales).all() or scales.min(initial=0) < 0:
        raise ValueError(f"{name}.scales must be 0 or more")
    if offsets is not None and not np.isfinite(offsets).all():
        raise ValueError(f"{name}.offsets must be finite")
    return Coded(codes, groups.astype(np.int64), scales, offsets, name)


def _unpacked(name, codes, columns, ternary):
    """int8[rows, columns]."""
    if ternary:
        size = packed_size(columns)
    else:
        size = -(-columns // 2) if codes.dtype == np.uint8 else columns
    if codes.ndim != 2 or codes.shape[1] != size or (ternary and codes.dtype != np.uint8):
        raise ValueError(f"{name} must have {columns} columns, as many as its groups")
    if ternary:
        try:
            return unpack_trits(codes, columns)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if codes.dtype != np.uint8:
        return codes
    codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)
    return codes[:, :columns].astype(np.int8) - np.int8(8)
