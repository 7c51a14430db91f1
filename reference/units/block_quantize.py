"""Block floating point: the form in which activations enter the MAC fabric."""

import numpy as np
from celosia.reference.arithmetic import magnitude_bits, round_shift

__all__ = ["ACTIVATION_WIDTHS", "block_quantize"]

ACTIVATION_WIDTHS = (8, 6, 5, 4)  # bits of a mantissa in the machine


def block_quantize(x, width=8, least=0):
    """Give each block ``x[..., lanes]`` one exponent ``e`` and mantissas ``x / 2**e``.

    ``e`` is the smallest shift, ``least`` or more, after which the block fits ``width`` signed bits
    before rounding. Mantissas round half up; one that rounds up to ``2**(width - 1)`` is limited to
    ``2**(width - 1) - 1``. Returns int64 mantissas of ``x``'s shape and int64 exponents without
    its last axis. (The idea of the OCP Microscaling format MXINT8, with blocks of one word.)
    """
    x = np.asarray(x, np.int64)
    exponent = np.maximum(magnitude_bits(x) - (width - 1), least)
    mantissa = np.minimum(round_shift(x, exponent[..., None]), (1 << (width - 1)) - 1)
    return mantissa, exponent
