"""SwiGLU: ``silu(gate) * up``."""

import numpy as np
from celosia.reference.arithmetic import round_shift, saturate
from celosia.reference.functions import sigmoid

__all__ = ["GATE_FRACTION", "swiglu"]

GATE_FRACTION = 12  # of a sigmoid's argument, and the most of a gate


def swiglu(gate, up, shift, width, fraction=GATE_FRACTION):
    """``gate * sigmoid(gate) * up / 2**shift``, saturated to ``width`` signed bits.

    ``gate`` saturates to 20 bits in units of ``2**-fraction`` (0 to 12), ``up`` to 18; the SiLU is
    rounded to the gate's units, the product by ``shift``, both half up.
    """
    gate, up = saturate(np.asarray(gate, np.int64), 20), saturate(np.asarray(up, np.int64), 18)
    silu = round_shift(gate * sigmoid(gate << (GATE_FRACTION - fraction)), 16)
    return saturate(round_shift(silu * up, shift), width)
