"""MLGRU: a state for each channel, what gates let in and out of it, in integers."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate
from celosia.reference.functions.functions import gating
from celosia.reference.units.gate import GATE_FRACTION

__all__ = ["GATE_WIDTH", "OUTPUT_WIDTH", "STATE_WIDTH", "fill", "filling", "release"]

GATE_WIDTH = 20
OUTPUT_WIDTH = 18  # of what gates the output, and of what it gates
STATE_WIDTH = 18


def filling(z, most, fraction):
    """``most * sigmoid(-z)`` in units of 2**-16: how much of a state is replaced.

    ``z`` is in units of ``2**-fraction`` (0 to 12), ``most`` from 0 to 2**16.
    """
    kept = gating(np.asarray(z, np.int64) << (GATE_FRACTION - fraction), "silu")
    return round_shift(most * ((1 << 16) - kept), 16)


def fill(state, i, share, fraction, state_fraction):
    """``state + share * (silu(i) - state)``, saturated to 18 bits.

    ``i`` saturates to 20 bits in units of ``2**-fraction``; ``state``, in those of
    ``2**-state_fraction``, has ``fraction`` to ``fraction + 16`` bits behind the point; ``share``
    is in units of 2**-16. ``silu(i)`` and the product are rounded half up. A share of 0 leaves the
    state as it is. No state leaves the range of what has filled it, so that its error stays below
    that of one filling, and one rounding for each that is not yet forgotten, ``1 / share``.
    """
    i = np.asarray(i, np.int64)
    passed = gating(i << (GATE_FRACTION - fraction), "silu")
    new = round_shift(saturate(i, GATE_WIDTH) * passed, fraction + 16 - state_fraction)
    new = saturate(new, STATE_WIDTH)
    return saturate(state + round_shift(share * (new - state), 16), STATE_WIDTH)


def release(state, output, shift, fraction, state_fraction, width):
    """``output * silu(state) / 2**shift``, rounded half up and saturated to ``width`` bits.

    ``output`` saturates to 18 bits; ``silu(state)`` is rounded to 18, and its argument down to
    units of ``2**-fraction``.
    """
    place = state >> (state_fraction - fraction)
    passed = gating(place << (GATE_FRACTION - fraction), "silu")
    y = round_shift(state * passed, 16 + STATE_WIDTH - OUTPUT_WIDTH)
    y = saturate(y, OUTPUT_WIDTH)
    return saturate(round_shift(y * saturate(output, OUTPUT_WIDTH), shift), width)
