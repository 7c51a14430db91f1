"""Hugging Face files in the packings of GPTQ and AWQ: their own codes, scales and zero points.

A module ``m`` has, in place of ``m.weight`` [output, input], int32 words ``m.qweight`` and
``m.qzeros``, and ``m.scales`` [groups, output]: ``weight = (code - zero) * scale``.

- GPTQ (AutoGPTQ, GPTQModel): a word of qweight holds neighbouring inputs, one of qzeros
  neighbouring outputs, the first in the lowest bits; zeros are stored less 1, but in the format
  ``gptq_v2``. ``m.g_idx`` says each input's group.
- AWQ ("gemm"): words of both hold eight outputs, in the order 0, 2, 4, 6, 1, 3, 5, 7.
"""

from typing import Literal

import msgspec
import numpy as np
from celosia.reference.checkpoint.error import CheckpointError
from celosia.reference.checkpoint.schema import convert
from celosia.reference.checkpoint.tensors import check_shape
from celosia.reference.quantization.coded import Coded

__all__ = ["METHODS", "Module", "Packing", "read_packing", "unpacked"]

METHODS = ("gptq", "awq")
WORD = 32
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_PARTS = ("qweight", "qzeros", "scales", "g_idx")


class Packing(msgspec.Struct):
    """``quantization_config``, of what decides how words are read."""

    quant_method: Literal["gptq", "awq"]
    bits: Literal[2, 4, 8]
    group_size: int = 128
    checkpoint_format: Literal["gptq", "gptq_v2"] = "gptq"
    version: Literal["gemm", "GEMM"] = "gemm"


def read_packing(path, values):
    """The Packing that config.json's ``values`` name, and the values without it; or None, values.

    Raises
    ------
    CheckpointError
        If it is another one than is known here; the message names the field.
    """
    given = values.get("quantization_config")
    if not isinstance(given, dict) or given.get("quant_method") not in METHODS:
        return None, values
    prefix = "quantization_config."
    own = {name: given[name] for name in Packing.__struct_fields__ if name in given}
    known = {
        "bits": (2, 4, 8),
        "checkpoint_format": ("gptq", "gptq_v2"),
        "version": ("gemm", "GEMM"),
    }
    if own["quant_method"] == "awq":
        own.pop("checkpoint_format", None)
        known["bits"] = (4,)
    else:
        own.pop("version", None)
    for name, those in known.items():
        if name in own and own[name] not in those:
            listed = ", ".join(map(str, those))
            raise CheckpointError(
                f"{path}: {prefix}{name}: {own[name]!r} is not supported (only {listed})"
            )
    rest = {name: value for name, value in values.items() if name != "quantization_config"}
    packing = convert(own, Packing, path, prefix)
    if packing.group_size < 1 and packing.group_size != -1:
        raise CheckpointError(
            f"{path}: {prefix}group_size: must be 1 or more, or -1, not {packing.group_size}"
        )
    return packing, rest


class Module:
    """A module's weight, in place of the tensors that it is packed in."""

    kind = "F32"

    def __init__(self, module, tensors, packing):
        self._parts, self._packing = tensors, packing
        word = tensors["qweight"]
        self.path, self.name, self.raw = word.path, f"{module}.weight", word.raw
        for part in _PARTS[1:3]:
            if part not in tensors:
                raise CheckpointError(f"{self.path}: {module}.{part} is missing")
        if len(word.shape) != 2:
            raise CheckpointError(f"{self.path}: {word.name} must be a matrix")
        n = WORD // packing.bits
        rows, columns = word.shape[::-1]
        if packing.quant_method == "gptq":
            columns *= n
        else:
            rows *= n
        self.shape = rows, columns
        count = -(-columns // packing.group_size) if packing.group_size > 0 else 1
        self._check("scales", (count, rows))
        self._check("qzeros", (count, -(-rows // n)))
        self.groups = self._groups(columns)

    def _check(self, part, shape):
        tensor = self._parts[part]
        check_shape(self.path, tensor.name, tensor.shape, shape)

    def _groups(self, columns):
        """Each input's group."""
        size = self._packing.group_size if self._packing.group_size > 0 else columns
        groups = np.arange(columns) // size
        if "g_idx" in self._parts and self._packing.quant_method == "gptq":
            self._check("g_idx", (columns,))
            given = self._integers("g_idx")
            if not np.array_equal(given, groups):
                raise CheckpointError(
                    f"{self.path}: {self._parts['g_idx'].name}: inputs of a group are not side by "
                    "side (desc_act without static_groups), and the machine permutes nothing"
                )
        return groups

    def _integers(self, part):
        tensor = self._parts[part]
        if tensor.kind != "I32":
            raise CheckpointError(
                f"{self.path}: {tensor.name}: dtype {tensor.kind} is not supported (only I32)"
            )
        return tensor.array()

    def coded(self):
        """Its codes, less half their range."""
        bits = self._packing.bits
        places = np.arange(0, WORD, bits, dtype=np.uint32)
        words, zeros = (self._integers(p).view(np.uint32) for p in ("qweight", "qzeros"))
        mask, half = np.uint32((1 << bits) - 1), 1 << (bits - 1)
        if self._packing.quant_method == "gptq":
            codes = (words[:, None, :] >> places[None, :, None] & mask).reshape(-1, self.shape[0])
            zeros = (zeros[:, :, None] >> places & mask).reshape(len(zeros), -1)
            zeros = zeros.astype(np.int32) + (self._packing.checkpoint_format == "gptq")
        else:
            places = places[np.argsort(_AWQ_ORDER)]
            codes, zeros = (
                (x[:, :, None] >> places & mask).reshape(len(x), -1).astype(np.int32)
                for x in (words, zeros)
            )
        codes = (codes.astype(np.int32) - half).astype(np.int8).T.copy()
        scales = self._parts["scales"].float32().T.copy()
        if not np.isfinite(scales).all() or scales.min(initial=0) < 0:
            raise CheckpointError(f"{self.path}: {self._parts['scales'].name} must be 0 or more")
        offsets = (half - zeros[:, : self.shape[0]].T).astype(np.float32) * scales
        return Coded(codes, self.groups, scales, offsets if offsets.any() else None, self.name)

    def float32(self):
        return self.coded().float32()


def unpacked(tensors, packing):
    """The tensors of a directory, by name, with one weight in place of each module's parts."""
    modules = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        if part in _PARTS and f"{module}.qweight" in tensors:
            modules.setdefault(module, {})[part] = tensor
    found = dict(tensors)
    for module, parts in modules.items():
        if f"{module}.weight" in found:
            one = found[f"{module}.weight"]
            raise CheckpointError(f"{one.path}: {one.name} is there beside {module}.qweight")
        for part in parts:
            del found[f"{module}.{part}"]
        found[f"{module}.weight"] = Module(module, parts, packing)
    return found
