"""A model in integers: what the machine computes with."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from celosia.reference import integer
from celosia.reference.description import Description
from celosia.reference.model import ModelConfig
from celosia.reference.operations.attention import IntegerAttention
from celosia.reference.operations.hadamard import IntegerHadamard
from celosia.reference.operations.norm import IntegerNorm, IntegerStreamNorm
from celosia.reference.quantization.scheme import Scheme

__all__ = ["QuantizedModel"]


@dataclass
class QuantizedModel:
    """A model in integers, complete: what the machine computes, and nothing else.

    Parameters
    ----------
    config : ModelConfig
    description : Description
        Of the float model, in the machine's form.
    scheme : Scheme
    begin, layers, end : list, list of lists, list
        The integer operations, in order; see :mod:`celosia.reference.operations`.
    residual_fraction : int
        Bits behind the point of the residual stream.
    score_fraction, score_width : int
        Of all scores, which are logarithms to base 2.
    gate_fraction, router_fraction, logit_fraction : int
        Of all gates (20 bits), of the routers' logarithms to base 2 and of the logits (24 bits).
    """

    config: ModelConfig
    description: Description
    scheme: Scheme
    begin: list
    layers: list
    end: list
    residual_fraction: int
    score_fraction: int = 8
    score_width: int = 16
    gate_fraction: int = 12
    router_fraction: int = 14
    logit_fraction: int = 12

    def window(self, layer):
        """The positions that a token sees in a layer, its own counted; None for all."""
        for operation in self.layers[layer]:
            if isinstance(operation, IntegerAttention):
                return operation.source.window
        return None

    def logits(self, tokens):
        """The logits of tokens from position 0 on, and counts of saturated values by format."""
        cache = integer.IntegerCache.empty(self, len(tokens))
        return integer.forward(self, tokens, cache), cache.saturated

    @property
    def epsilon(self):
        """Of all norms of the residual stream; 1 where nothing is normed."""
        found = {op.epsilon for op in self.operations if isinstance(op, IntegerNorm)} - {None}
        if len(found) > 1:
            raise ValueError("norms of the residual stream with different epsilons need two units")
        return next(iter(found), 1)

    @cached_property
    def one_heads_unit(self):
        """Whether queries and keys share their units: not where norms over all heads differ."""
        norms = [op for op in self.operations if isinstance(op, IntegerStreamNorm)]
        c = self.config
        whole = any(op.source.groups == 1 and op.out == "q" for op in norms)
        return not whole or c.n_heads == c.n_kv_heads

    @cached_property
    def normed_on_the_way(self):
        """Vectors that a norm, or transform, takes before they reach the activation memory."""
        transformed = {op.vector for op in self.operations if isinstance(op, IntegerHadamard)}
        normed = {op.input for op in self.operations if isinstance(op, IntegerStreamNorm)}
        return normed | transformed

    @property
    def operations(self):
        """Every operation, in order."""
        return [*self.begin, *(op for layer in self.layers for op in layer), *self.end]

    @property
    def matrices(self):
        """Every matrix that a token's vectors may be multiplied by, in order."""
        parts = [one for op in self.operations for one in getattr(op, "parts", (op,))]
        return [op.matrix for op in parts if hasattr(op, "matrix")]

    @property
    def head_dim(self):
        """``head_dim`` padded to whole blocks."""
        return self.scheme.padded(self.config.head_dim)

    def acc_width(self, seq_len):
        """Bits that hold every sum, over matrices, keys and ``seq_len`` values, signed."""
        block = 1 << 22  # -128 * 2**15, what an activation or an exponential is at most
        rows = [int(np.abs(m.integers(), dtype=np.int32).sum(axis=1).max()) for m in self.matrices]
        largest = block * max(rows)
        if any(isinstance(op, IntegerAttention) for op in self.operations):
            largest = max(largest, block * 127 * seq_len, 127 * 127 * self.head_dim)
        return largest.bit_length() + 1
