"""The widths of the integer model."""

from dataclasses import dataclass

import numpy as np
from celosia.reference.units.block_quantize import ACTIVATION_WIDTHS
from celosia.reference.units.head_quantize import KV_WIDTHS

__all__ = ["WIDE_HEADS", "Scheme", "transform_sizes"]

WIDE_HEADS = 4, 8  # bits of a head's weights where the others have fewer, all without groups


def transform_sizes(lanes):
    """Sizes of Hadamard transforms, of at most 64 words; 0 for none."""
    return 0, *(1 << n for n in range(1, (64 * lanes).bit_length()))


@dataclass(frozen=True)
class Scheme:
    """The widths of the integer model. Written ``w8a8kv8``, or ``w8a8k8v4``.

    Parameters
    ----------
    lanes : int, a power of two from 2 to 64
        Activations share an exponent per block of ``lanes`` values (the machine's vector lanes).
    weight_width : int, 2 to 8
    activation_width : int, 8, 6, 5 or 4
        Bits of an activation within its block.
    residual_width : int, 20 to 28
    group : int, 0 or a multiple of ``lanes``
        Columns that share a scale within their row; 0 for one scale per row.
    offset_width : int, 12 or 8
        Bits of a group's offset; 8 only where the head's weights are as wide as the others.
    head_width : int, ``weight_width`` or twice as much, 4, 8, or 0
        Bits of the head's and the embedding's weights; 0 for ``weight_width``. Twice as many only
        with groups, and 4 or 8 only without.
    key_width, value_width : int, 8, 6 or 4
        Bits of a cached key's or value's code; values of fewer than 8 have steps by token.
    value_steps : str
        Cached values have a step for each ``channel``, or as keys for each head and ``token``.
    key_mean : str
        ``kept``, or ``removed`` from rotated keys: the mean of each layer and KV head, by
        calibration. No softmax sees the difference, and smaller keys have smaller steps.
    rotate_down, rotate_keys : int, 0 or a power of two from 2 to ``64 * lanes``
        Values of a block whose Hadamard transform is taken, in front of each ``down`` matrix (R4),
        and of queries and keys (R3); 0 for none.
    ternary : bool
        Every weight of a row is -1, 0 or 1 times the row's scale, as the model has it: nothing is
        rounded, and norms' gains stay out of matrices. Tables have ``DIGITS`` ternary digits, or
        with a ``head_width`` as many bits. Only of 2 bits, without groups.

    Groups of fewer than 8 bits have an offset (a zero point) beside their scale, but for a head of
    more bits than the rest.
    """

    lanes: int = 8
    weight_width: int = 8
    residual_width: int = 24
    group: int = 0
    offset_width: int = 12
    head_width: int = 0
    ternary: bool = False
    key_width: int = 8
    value_width: int = 8
    value_steps: str = "channel"
    key_mean: str = "kept"
    activation_width: int = 8
    rotate_down: int = 0
    rotate_keys: int = 0

    def __post_init__(self):
        if self.lanes not in (2, 4, 8, 16, 32, 64):
            raise ValueError(f"lanes must be a power of two from 2 to 64, not {self.lanes!r}")
        if self.weight_width not in range(2, 9):
            raise ValueError(f"weight_width must be from 2 to 8, not {self.weight_width!r}")
        if self.residual_width not in range(20, 29):
            raise ValueError(f"residual_width must be from 20 to 28, not {self.residual_width!r}")
        if self.activation_width not in ACTIVATION_WIDTHS:
            raise ValueError(
                f"activation_width must be 8, 6, 5 or 4, not {self.activation_width!r}"
            )
        for name in ("key_width", "value_width"):
            if getattr(self, name) not in KV_WIDTHS:
                raise ValueError(f"{name} must be 8, 6 or 4, not {getattr(self, name)!r}")
        if self.value_width < 8 and self.value_steps != "token":
            raise ValueError(
                f"value_steps must be token with a value_width below 8, not {self.value_steps!r}"
            )
        if self.value_steps not in ("channel", "token"):
            raise ValueError(f"value_steps must be channel or token, not {self.value_steps!r}")
        if self.key_mean not in ("kept", "removed"):
            raise ValueError(f"key_mean must be kept or removed, not {self.key_mean!r}")
        for name in ("rotate_down", "rotate_keys"):
            size = getattr(self, name)
            if size not in transform_sizes(self.lanes):
                raise ValueError(
                    f"{name} must be 0 or a power of two from 2 to 64 * lanes ({64 * self.lanes}), "
                    f"not {size}"
                )
        if self.group < 0 or self.group % self.lanes:
            raise ValueError(f"group must be a multiple of lanes ({self.lanes}), not {self.group}")
        if self.ternary and (self.weight_width != 2 or self.group):
            raise ValueError(
                f"ternary weights have 2 bits and no groups, not {self.weight_width} bits and "
                f"groups of {self.group}"
            )
        widths = [0, self.weight_width]
        if not self.group:
            widths += WIDE_HEADS
        elif self.weight_width <= 4:
            widths.append(2 * self.weight_width)
        if self.head_width not in widths:
            raise ValueError(
                f"head_width must be weight_width ({self.weight_width}), or with groups of at most "
                f"4 bits twice as much, or without groups 4 or 8, not {self.head_width!r}"
            )

        if self.offset_width not in (12, 8):
            raise ValueError(f"offset_width must be 12 or 8, not {self.offset_width!r}")

    @property
    def transforms(self):
        """Sizes of the transforms, as :func:`celosia.reference.rewrites.rewrites.machine_form`
        takes them."""
        return self.rotate_down, self.rotate_keys

    def form(self, model):
        """``model`` as the machine computes it: what calibration looks at."""
        from celosia.reference.rewrites.rewrites import machine_form

        return machine_form(model, self.ternary, *self.transforms)

    def quantize(self, model, calibration=None):
        """The integer model: see :func:`celosia.reference.quantization.quantize.quantize`."""
        from celosia.reference.quantization.quantize import quantize

        return quantize(model, self, calibration)

    @property
    def name(self):
        """As ``w8a8kv8``."""
        keys, values = self.key_width, self.value_width
        cached = f"kv{keys}" if keys == values else f"k{keys}v{values}"
        return f"w{self.weight_width}a{self.activation_width}{cached}"

    @property
    def head_planes(self):
        """Words of the tape for a block of the head's columns: 2 where its weights are wider."""
        return 1 if self.head_width in (0, self.weight_width) or self.wide_head else 2

    @property
    def wide_head(self):
        """Whether the head's weights have more bits than the others, all without groups."""
        return self.head_width > self.weight_width and not self.group

    def has_offsets(self, width):
        """Whether groups of ``width`` bits have an offset: below 8, but not those in two planes,
        whose lower plane needs it for itself."""
        return width < 8 and width == self.weight_width

    def offset_bits(self, width):
        """Bits of the offsets of groups of ``width`` bits; 0 where they have none."""
        return self.offset_width if self.has_offsets(width) else 0

    def padded(self, n):
        """``n`` rounded up to whole blocks."""
        return -(-n // self.lanes) * self.lanes

    def places(self, description, vector):
        """Where a vector's values lie in its padded form, and the size of that."""
        n = description.sizes[vector]
        if vector in description.heads:
            n_heads = description.heads[vector]
            return self.heads_of(n_heads, n // n_heads)
        return self.columns_of(n)

    def columns_of(self, n):
        """Places of ``n`` values in a padded vector, and its size."""
        return np.arange(n), self.padded(n)

    def heads_of(self, n_heads, head_dim):
        """Places of heads, each padded by itself, in a vector, and its size."""
        padded = self.padded(head_dim)
        places = np.arange(n_heads)[:, None] * padded + np.arange(head_dim)
        return places.reshape(-1), n_heads * padded
