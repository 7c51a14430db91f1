"""A model in integers: what the machine computes with."""

from dataclasses import dataclass, field

import numpy as np
from celosia.reference.matrix import Linear
from celosia.reference.scheme import Scheme

__all__ = ["QuantizedLayer", "QuantizedModel"]

LINEARS = ("q", "k", "v", "o", "gate_up", "down")


@dataclass
class QuantizedLayer:
    """One decoder layer in integers; rows and columns padded to whole blocks, head by head.

    ``norm_gain`` int16[dim] with ``norm_shift`` belong to the norm in front of Q, K and V,
    ``ffn_gain`` to the one in front of gate and up. ``score_shift`` turns ``q . k`` times their
    steps into logarithms (base 2), ``value_scale`` int[n_kv_heads, head_dim]
    the weighted sum of cached values into activations.
    """

    norm_gain: np.ndarray
    norm_shift: int
    q: Linear
    k: Linear
    v: Linear
    score_shift: int
    value_scale: np.ndarray
    value_shift: int
    o: Linear
    ffn_gain: np.ndarray
    ffn_shift: int
    gate_up: Linear  # blocks of gate rows and up rows alternate
    swiglu_shift: int
    down: Linear


@dataclass
class QuantizedModel:
    """A model in integers, complete: what the machine computes, and nothing else.

    ``rope_increments`` are turns per position in units of 2**-32; ``epsilon`` is the norm's, times
    ``dim``, in squared units of the residual (2**-residual_fraction). Of the whole machine are the
    formats of scores (``score_width`` bits in units of ``2**-score_fraction``, logarithms to base
    2), of gates (20 bits, ``gate_fraction``) and of logits (24 bits, ``logit_fraction``).
    """

    config: object
    scheme: Scheme
    residual_fraction: int
    epsilon: int
    rope_increments: np.ndarray
    embedding: Linear
    layers: list = field(default_factory=list)
    head_gain: np.ndarray = None
    head_gain_shift: int = 0
    head: Linear = None
    score_fraction: int = 8
    score_width: int = 16
    gate_fraction: int = 12
    logit_fraction: int = 12

    @property
    def head_dim(self):
        """``head_dim`` padded to whole blocks."""
        return self.scheme.padded(self.config.head_dim)

    def acc_width(self, seq_len):
        """Bits that hold every sum, over matrices, keys and ``seq_len`` values, signed."""
        block = 1 << 22  # -128 * 2**15, what an activation or an exponential is at most
        ops = [self.head] + [getattr(layer, n) for layer in self.layers for n in LINEARS]
        rows = [int(np.abs(op.integers(), dtype=np.int32).sum(axis=1).max()) for op in ops]
        largest = max(block * max(*rows, 127 * seq_len), 127 * 127 * self.head_dim)
        return largest.bit_length() + 1
