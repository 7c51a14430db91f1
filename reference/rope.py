"""Rotary position embedding of interleaved pairs."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate

__all__ = ["rope"]


def rope(x, sine, cosine):
    """Rotate pairs ``(2i, 2i + 1)`` of ``x[..., n]``.

    ``x`` saturates to 18 signed bits, the result to 16, in the same unit; ``sine`` and ``cosine``
    (units of 2**-14) broadcast against the pairs ``[..., n / 2]``. The two products are added
    before the one rounding (half up).
    """
    x = saturate(np.asarray(x, np.int64), 18)
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = np.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1)
    return saturate(round_shift(rotated, 14), 16).reshape(x.shape)
