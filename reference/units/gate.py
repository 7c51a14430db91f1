"""Activations between the matrices of an MLP, with a second half that they gate or alone."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate
from celosia.reference.functions.functions import gating
from celosia.reference.functions.tables import GATING_REACH

__all__ = ["ACTIVATIONS", "GATE_FRACTION", "activation_fraction", "gate"]

ACTIVATIONS = (*GATING_REACH, "relu", "relu2")
GATE_FRACTION = 12  # of a gating function's argument, and the most of a gate
SQUARE_SHIFT = 15  # a square of 17 bits becomes one of 19


def gate(x, up, shift, width, activation="silu", fraction=GATE_FRACTION):
    """``act(x) * up / 2**shift``, or ``act(x) / 2**shift`` if ``up`` is None, in ``width`` bits.

    ``x`` is in units of ``2**-fraction`` (0 to 12). With "silu", "gelu" (by erf), "gelu_tanh" and
    "relu" it saturates to 20 bits and ``act(x)`` is rounded to the same units; with "relu2", which
    is ``max(x, 0)**2``, ``x`` saturates to 18 bits and ``act(x)`` is rounded to 19 bits in units of
    ``2**(15 - 2 fraction)``. ``up`` saturates to 18 bits, the result, rounded by ``shift``, to
    ``width``. All roundings are half up.

    Errors of ``act(x)``, in units of ``x`` and against float64, while nothing saturates: "silu"
    ``0.5 + 2.4e-5 |x|`` (``0.51`` from 16.0 on), "gelu" and "gelu_tanh"
    ``0.5 + 2.1e-5 |x|`` (``0.51`` from 8.0 on), "relu" none, "relu2" half of its own unit.
    """
    x = np.asarray(x, np.int64)
    if activation == "relu2":
        root = np.maximum(saturate(x, 18), 0)
        y = round_shift(root * root, SQUARE_SHIFT)
    elif activation == "relu":
        y = np.maximum(saturate(x, 20), 0)
    else:
        share = gating(x << (GATE_FRACTION - fraction), activation)
        y = round_shift(saturate(x, 20) * share, 16)
    if up is not None:
        y = y * saturate(np.asarray(up, np.int64), 18)
    return saturate(round_shift(y, shift), width)


def activation_fraction(activation, fraction=GATE_FRACTION):
    """Bits behind the point of ``act(x)``, for ``x`` in units of ``2**-fraction``."""
    return 2 * fraction - SQUARE_SHIFT if activation == "relu2" else fraction
