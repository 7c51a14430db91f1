"""What config.json says of rotary positions: theta, a scaling, the part of a head that turns."""

import math
from typing import Annotated

import msgspec
from celosia.reference.units.rope_scaling import (
    LinearScaling,
    LongScaling,
    RopeScaling,
    YarnScaling,
)

from celosia.printable import shown

__all__ = ["Number", "Rope", "Size", "read_rope"]

Size = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Number = Annotated[float, msgspec.Meta(gt=0, le=1e30)]


class Rope(msgspec.Struct):
    """``rope_parameters``, or ``rope_scaling`` as it was called before."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: Number | None = None
    partial_rotary_factor: float | None = None
    factor: Number | None = None
    low_freq_factor: Number | None = None
    high_freq_factor: Number | None = None
    original_max_position_embeddings: Size | None = None
    attention_factor: Number | None = None
    beta_fast: Number | None = None
    beta_slow: Number | None = None
    mscale: Number | None = None
    mscale_all_dim: Number | None = None
    truncate: bool = True
    short_factor: list[Number] | None = None
    long_factor: list[Number] | None = None


def read_rope(fields):
    """theta, the scaling or None, and the fraction of a head that is rotated, or None."""
    where = "rope_scaling" if fields.rope_scaling not in (None, Rope()) else "rope_parameters"
    rope = getattr(fields, where) or Rope()
    theta = rope.rope_theta or fields.rope_theta or fields.default_theta
    fraction = rope.partial_rotary_factor
    fraction = fields.partial_rotary_factor if fraction is None else fraction
    return theta, _scaling(fields, rope, where), fraction


#: Our names of scalings, and what each needs.
_SCALINGS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": (),
    "longrope": ("short_factor",),
}


def _scaling(fields, rope, where):
    kind = rope.rope_type or rope.type or "default"
    if kind == "su" or (kind == "yarn" and rope.short_factor):  # its older names
        kind = "longrope"
    # Within the trained length "dynamic" changes nothing.
    if kind in ("default", "dynamic"):
        return None
    if kind not in _SCALINGS:
        supported = ", ".join(map(repr, ("default", "dynamic", *_SCALINGS)))
        raise ValueError(f"{where}.rope_type: {shown(kind)} is not supported (only {supported})")
    for name in _SCALINGS[kind]:
        if getattr(rope, name) is None:
            raise ValueError(f"{where}.{name}: is missing")
    length = fields.original_max_position_embeddings or rope.original_max_position_embeddings
    length = length or fields.seq_len
    factor = rope.factor or fields.seq_len / length
    try:
        if kind == "linear":
            return None if factor == 1 else LinearScaling(factor)
        if kind == "llama3":
            return RopeScaling(factor, rope.low_freq_factor, rope.high_freq_factor, length)
        if kind == "yarn":
            betas = rope.beta_fast or 32.0, rope.beta_slow or 1.0
            return YarnScaling(factor, length, _yarn_factor(rope, factor), *betas, rope.truncate)
        attention = math.sqrt(1 + math.log(max(factor, 1)) / math.log(max(length, 2)))
        return LongScaling(tuple(rope.short_factor), length, rope.attention_factor or attention)
    except ValueError as fault:
        raise ValueError(f"{where}: {fault}") from None


def _yarn_factor(rope, factor):
    """What YaRN multiplies turned values by where the file does not say."""

    def logarithm(scale):
        return 0.1 * scale * math.log(max(factor, 1)) + 1

    if rope.attention_factor:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return logarithm(rope.mscale) / logarithm(rope.mscale_all_dim)
    return logarithm(1)
