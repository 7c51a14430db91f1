"""Matrices of -1, 0 and 1 times one number, as Hugging Face's files hold them."""

from dataclasses import dataclass, replace

import msgspec
import numpy as np
from celosia.reference.families.fields import Epsilon
from celosia.reference.families.names import Part
from celosia.reference.operations import Linear, Norm

from celosia.printable import shown

__all__ = ["Online", "Quantization", "Scaled", "Ternary", "check", "names", "norm_inputs"]


class Quantization(msgspec.Struct):
    """``quantization_config``."""

    quant_method: str
    linear_class: str = "bitlinear"
    quantization_mode: str = "offline"
    modules_to_not_convert: list[str] | None = None
    use_rms_norm: bool = False
    rms_norm_eps: Epsilon = 1e-6


def check(quantization):
    """The options that the quantisation asks for; a ValueError if it is another kind."""
    q = quantization
    if q is None:
        return {}
    for name, value, known in (
        ("quant_method", q.quant_method, ("bitnet",)),
        ("linear_class", q.linear_class, ("bitlinear", "autobitlinear")),
        ("quantization_mode", q.quantization_mode, ("offline", "online")),
    ):
        if value not in known:
            raise ValueError(
                f"quantization_config.{name}: {shown(value)} is not supported (only {known[0]!r})"
            )
    if q.linear_class == "bitlinear" and q.quantization_mode == "online":
        raise ValueError("quantization_config.quantization_mode: 'online' needs 'autobitlinear'")
    if q.use_rms_norm and q.modules_to_not_convert:
        raise ValueError("quantization_config.use_rms_norm: not with modules_to_not_convert")
    return {"input_norms": q.rms_norm_eps} if q.use_rms_norm else {}


def names(given, fields):
    """The Names ``given``, whose layers' matrices are ternary if the fields say so."""
    if fields.quantization_config is None:
        return given
    weights = {name: each for name, each in given.layer.items() if name.startswith("w")}
    layer = {name: Ternary(each, fields.quantization_config) for name, each in weights.items()}
    layer |= {f"{name}_norm": f"{each}.rms_norm" for name, each in weights.items()}
    return replace(given, layer=given.layer | layer)


@dataclass(frozen=True)
class Ternary:
    """The matrix of a module: packed or not, with a number behind or in front of it.

    Four rows are in one of uint8, row ``r + i * rows / 4`` in bits ``2 i``, plus 1. The number is
    divided by in "bitlinear" files. Where there is none ("online"), it is the mean magnitude.
    """

    name: str
    quantization: Quantization

    def read(self, file, place, suffix, shape):
        name, q = f"{place}{self.name}", self.quantization
        kept = q.modules_to_not_convert or ()
        online = q.quantization_mode == "online"
        plain = suffix == "bias" and (online or q.linear_class == "bitlinear")
        if plain or any(name.startswith(each) or name.endswith(each) for each in kept):
            return Part(self.name).read(file, place, suffix, shape)
        if online:
            return _rounded(file.take(f"{name}.weight", shape))
        number = file.take(f"{name}.weight_scale", (1,))
        if not number[0] > 0:
            file.fail(f"{name}.weight_scale", f"must be greater than 0, not {number[0]:g}")
        if suffix == "bias":
            return file.checked(f"{name}.bias", file.take(f"{name}.bias", shape) * number)
        codes = self._codes(file, f"{name}.weight", shape)
        codes = codes / number if q.linear_class == "bitlinear" else codes * number
        return file.checked(f"{name}.weight", codes)

    def _codes(self, file, name, shape):
        if not file.packed(name):
            return file.take(name, shape)
        if shape[0] % 4:
            file.fail(name, f"4 must divide its rows, {shape[0]}")
        packed = file.bytes(name, (shape[0] // 4, shape[1]))
        codes = np.concatenate([packed >> (2 * place) & 3 for place in range(4)])
        if codes.max() > 2:
            file.fail(name, "holds a code that is neither 0, 1 nor 2")
        return codes.astype(np.float32) - 1


@dataclass(frozen=True)
class Scaled(Part):
    """A module's tensor in GGUF files, times a number beside it where there is one."""

    def read(self, file, place, suffix, shape):
        array = super().read(file, place, suffix, shape)
        number = f"{place}{self.name}.scale"
        if not file.has(number):
            return array
        return file.checked(f"{place}{self.name}.{suffix}", array * file.take(number, (1,)))


@dataclass(frozen=True)
class Online(Part):
    """A module's matrix as the model itself rounds it, or of it the rows of one of ``parts``."""

    def read(self, file, place, suffix, shape):
        rows = sum(self.parts) or shape[0]
        weight = _rounded(file.take(f"{place}{self.name}.{suffix}", (rows, *shape[1:])))
        start = sum(self.parts[: self.index])
        return weight[start : start + shape[0]]


def _rounded(weight):
    number = max(np.abs(weight).mean(dtype=np.float32), np.float32(1e-5))
    return np.clip(np.rint(weight / number), -1, 1).astype(np.float32) * number


def norm_inputs(description, eps):
    """The description with an RMSNorm in front of each matrix of the layers, of its own."""
    sizes = dict(description.sizes)

    def normed(op):
        if not isinstance(op, Linear):
            return (op,)
        vector, gain = f"{op.weight}_input", f"{op.weight}_norm"
        sizes[vector] = sizes[op.input]
        return Norm(op.input, vector, eps, gain), replace(op, input=vector)

    layers = tuple(
        tuple(each for op in layer for each in normed(op)) for layer in description.layers
    )
    return replace(description, layers=layers, sizes=sizes)
