"""Rotary position embedding, of interleaved pairs or of the halves of a head."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate

__all__ = ["rope", "rope_increments"]


def rope_increments(head_dim, base=10000.0, scaling=None):
    """``base ** (-2 i / head_dim)`` radians for each pair, in units of 2**-32 turns: int64[n / 2].

    ``scaling`` is a :class:`celosia.reference.model.RopeScaling` (Llama-3's), or None. Raises
    ValueError if ``head_dim`` is odd or not positive, or ``base`` is below 1.
    """
    if head_dim < 2 or head_dim % 2:
        raise ValueError(f"head_dim must be even and positive, not {head_dim!r}")
    if base < 1:
        raise ValueError(f"base must be at least 1, not {base!r}")
    frequencies = float(base) ** (-2.0 * np.arange(head_dim // 2) / head_dim)
    if scaling is not None:
        frequencies = scaling.scale(frequencies, base)
    return np.round(frequencies / (2 * np.pi) * 2.0**32).astype(np.int64)


def rope(x, sine, cosine, halves=False):
    """Rotate pairs ``(2i, 2i + 1)`` of ``x[..., n]``, or ``(i, i + n / 2)`` where ``halves``.

    ``x`` saturates to 18 signed bits, the result to 16, in the same unit; ``sine`` and ``cosine``
    (units of 2**-14) broadcast against the pairs ``[..., n / 2]``. The two products are added
    before the one rounding (half up).
    """
    x = saturate(np.asarray(x, np.int64), 18)
    pairs = x.reshape(*x.shape[:-1], 2, -1).swapaxes(-1, -2) if halves else x
    pairs = pairs.reshape(*x.shape[:-1], -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    rotated = [even * cosine - odd * sine, even * sine + odd * cosine]
    rotated = np.stack(rotated, axis=-2 if halves else -1)
    return saturate(round_shift(rotated, 14), 16).reshape(x.shape)
