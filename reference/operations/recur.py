"""Recur: a state of each channel that gates let go and fill, and what leaves it (MLGRU)."""

import math
from dataclasses import dataclass

import numpy as np
from celosia.reference.operations.gate import ACTIVATIONS, sigmoid
from celosia.reference.operations.linear import SCALED_WIDTH
from celosia.reference.operations.norm import ACTIVATION_WIDTH
from celosia.reference.quantization.matrix import ceil_log2
from celosia.reference.units.recurrent import (
    GATE_WIDTH,
    OUTPUT_WIDTH,
    STATE_WIDTH,
    fill,
    filling,
    release,
)

__all__ = ["IntegerRecur", "Recur"]


@dataclass(frozen=True)
class Recur:
    """``out = s * silu(h)`` with ``h = f * h + (1 - f) * silu(i)``, channel by channel.

    ``f = b + (1 - b) * sigmoid(z)``. The state ``h`` is 0 before the first position. ``s`` is the
    vector ``output``, or with ``gain`` its RMSNorm. After Zhu and others, arXiv 2406.02528, in the
    form of the released code.

    Parameters
    ----------
    input, forget, output, out : str
        The vectors ``i``, ``z``, ``output`` and the result.
    bounds : str, optional
        The tensor ``b``, from 0 to 1; without it 0.
    gain : str, optional
    eps : float
        Of that norm.
    """

    input: str
    forget: str
    output: str
    out: str
    bounds: str | None = None
    gain: str | None = None
    eps: float = 0.0

    @property
    def inputs(self):
        """The vectors, in the order in which the unit takes them."""
        return self.forget, self.input, self.output

    def shapes(self, sizes):
        shape = (sizes[self.input],)
        return {name: shape for name in (self.bounds, self.gain) if name}

    def run(self, p):
        z, i, s = (p.read(name) for name in self.inputs)
        if self.gain:
            mean = np.mean(s * s, axis=-1, keepdims=True, dtype=np.float32)
            s = s / np.sqrt(mean + np.float32(self.eps)) * p.tensor(self.gain)
        p.observe("recurrent gates", np.maximum(np.abs(i), np.abs(z)))
        p.observe("recurrent outputs", s)
        silu = ACTIVATIONS["silu"]
        fresh = sigmoid(-z)
        if self.bounds:
            fresh = (np.float32(1.0) - p.tensor(self.bounds)) * fresh
        filled = silu(i)
        p.observe("state", filled)  # no state is beyond what has filled it
        states = np.empty_like(filled)
        state = p.cache.states.get(p.layer, np.zeros_like(filled[0]))
        for n in range(len(filled)):
            state = state + fresh[n] * (filled[n] - state)
            states[n] = state
        p.cache.states[p.layer] = state
        out = s * silu(states)
        p.observe("recurrent", out)
        p.write(self.out, out)

    def demand(self, q):
        for name in (self.input, self.forget):
            q.ask(name, 2.0**q.gate_fraction)
        largest = q.margin * q.everywhere("recurrent outputs")
        q.ask(self.output, 2.0 ** (OUTPUT_WIDTH - 2 - ceil_log2(largest)))

    def quantize(self, q):
        if self.gain:
            raise ValueError(f"{self.gain}: this norm has no unit, unless another one follows")
        bounds = q.tensor(self.bounds) if self.bounds else np.zeros(q.size(self.input), np.float32)
        if bounds.min() < 0 or bounds.max() > 1:
            raise ValueError(f"{self.bounds} must be from 0 to 1")
        places, size = q.places(self.input)
        most = np.zeros(size, np.int64)
        most[places] = np.round((1.0 - bounds.astype(np.float64)) * 2.0**16)
        state = STATE_WIDTH - 1 - ceil_log2(q.margin * q.everywhere("state"))
        state = min(max(state, q.gate_fraction), q.gate_fraction + 16)
        product = state - (STATE_WIDTH - OUTPUT_WIDTH) + round(math.log2(q.want(self.output)[0]))
        width = SCALED_WIDTH if q.taken_by_norm(self.out) else ACTIVATION_WIDTH
        fraction = min(width - 2 - ceil_log2(q.margin * q.everywhere("recurrent")), product)
        q.give(self.out, 2.0**-fraction)
        return IntegerRecur(self, most, state, product - fraction, width, q.layer)


@dataclass(eq=False)
class IntegerRecur:
    """The recurrence in integers: see :mod:`celosia.reference.units.recurrent`.

    Parameters
    ----------
    source : Recur
    most : int[padded size]
        ``1 - bounds`` in units of 2**-16.
    state_fraction : int
        Bits behind the point of all states.
    shift : int
        Behind the gated output.
    width : int
        Bits of the result.
    layer : int
    """

    source: Recur
    most: np.ndarray
    state_fraction: int
    shift: int
    width: int
    layer: int

    @property
    def out(self):
        """The vector that it makes."""
        return self.source.out

    def run(self, p):
        s, fraction = self.source, p.model.gate_fraction
        z, i, output = (p.read(name).values for name in s.inputs)
        for x, bits in ((z, GATE_WIDTH), (i, GATE_WIDTH), (output, OUTPUT_WIDTH)):
            p.count("values", x, bits)
        share = filling(z, self.most, fraction)
        states = np.empty_like(i)
        state = p.cache.states.get(self.layer, np.zeros_like(i[0]))
        for n in range(len(i)):
            state = fill(state, i[n], share[n], fraction, self.state_fraction)
            states[n] = state
        p.cache.states[self.layer] = state
        rest = self.shift, fraction, self.state_fraction, self.width
        p.finish(s.out, release(states, output, *rest))
