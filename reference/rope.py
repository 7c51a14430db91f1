"""Rotary position embedding, of interleaved pairs or of the halves of a head."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate

__all__ = ["rope"]


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
