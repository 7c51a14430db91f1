"""Norm: of the residual stream, whose scalar waits until behind the next matrix; or of a vector."""

import math
from dataclasses import dataclass

import numpy as np
from celosia.reference.functions import rsqrt
from celosia.reference.matrix import ceil_log2
from celosia.reference.norm import gain, sum_of_squares

__all__ = ["Copy", "IntegerNorm", "Norm"]

ACTIVATION_WIDTH = 23  # bits of a value before block quantisation: 8 and shifts of up to 15


@dataclass(frozen=True)
class Norm:
    """``out = input / sqrt(mean(input**2) + eps) * gain + bias``; of ``groups`` parts, each alone.

    Parameters
    ----------
    input, out : str
    eps : float
    gain, bias : str, optional
    centred : bool
        LayerNorm: the mean is subtracted first.
    groups : int
        The parts of the vector that are normed alone; ``gain`` has the values of one.
    """

    input: str
    out: str
    eps: float
    gain: str | None = None
    bias: str | None = None
    centred: bool = False
    groups: int = 1

    @property
    def key(self):
        """The name under which calibration knows it."""
        return self.gain or f"norm of {self.input}"

    def shapes(self, sizes):
        shape = (sizes[self.input] // self.groups,)
        return {name: shape for name in (self.gain, self.bias) if name}

    def run(self, p):
        x = p.read(self.input)
        parts = x.reshape(len(x), self.groups, -1)
        if self.centred:
            parts = parts - parts.mean(axis=-1, keepdims=True, dtype=np.float32)
        gains = p.tensor(self.gain) if self.gain else np.float32(1.0)
        p.observe(self.key, np.abs(parts * gains).reshape(x.shape))
        mean = np.mean(parts * parts, axis=-1, keepdims=True, dtype=np.float32)
        y = parts / np.sqrt(mean + np.float32(self.eps)) * gains
        if self.bias:
            y = y + p.tensor(self.bias)
        p.observe(f"{self.key} output", y.reshape(x.shape))
        p.write(self.out, y.reshape(x.shape))

    def demand(self, q):
        pass

    def quantize(self, q):
        n = q.size(self.input)
        gains = q.tensor(self.gain) if self.gain else np.ones(n, np.float32)
        mantissas, shift, fraction = _gain(gains, q, q.seen(self.key))
        q.give(self.out, math.sqrt(n) * 2.0 ** (q.residual - fraction))
        return IntegerNorm(self, mantissas, shift, 1)  # epsilon: see Quantizer


@dataclass(frozen=True)
class Copy:
    """``out = input``: the residual stream as it is, in the form that matrices read."""

    input: str
    out: str

    @property
    def key(self):
        """The name under which calibration knows it."""
        return f"copy of {self.input}"

    def shapes(self, sizes):
        return {}

    def run(self, p):
        p.observe(self.key, np.abs(p.read(self.input)))
        p.write(self.out, p.read(self.input))

    def demand(self, q):
        pass

    def quantize(self, q):
        ones = np.ones(q.size(self.input), np.float32)
        mantissas, shift, fraction = _gain(ones, q, q.seen(self.key))
        q.give(self.out, 2.0**-fraction)
        return IntegerNorm(self, mantissas, shift, None)


def _gain(gains, q, largest):
    """int16 gains[padded size], the shift behind the product, and the product's binary point."""
    mantissa_shift = 14 - ceil_log2(max(np.abs(gains).max(), 2.0**-100))
    places, size = q.scheme.columns_of(len(gains))
    mantissa = np.zeros(size, np.int64)
    mantissa[places] = np.round(gains.astype(np.float64) * 2.0**mantissa_shift)
    fraction = ACTIVATION_WIDTH - 3 - ceil_log2(np.max(largest))
    fraction = min(fraction, q.residual + mantissa_shift - 1)
    return mantissa, q.residual + mantissa_shift - fraction, fraction


@dataclass
class IntegerNorm:
    """The residual stream times gains, in blocks; ``1 / sqrt(sum(x**2) + epsilon)`` beside it.

    Parameters
    ----------
    source : Norm or Copy
    gains : int16[padded size]
    shift : int
        Behind the product.
    epsilon : int, or None
        In squared units of the residual, for the whole vector; None where nothing is normed.
    """

    source: object
    gains: np.ndarray
    shift: int
    epsilon: int | None

    @property
    def input(self):
        """The vector that is normed."""
        return self.source.input

    @property
    def out(self):
        """The vector that it makes."""
        return self.source.out

    def run(self, p):
        x = p.read(self.input).values
        p.count("residual", x, p.width)
        values = gain(x, self.gains, self.shift, ACTIVATION_WIDTH)
        p.count("activations", values, ACTIVATION_WIDTH)
        if self.epsilon is None:
            p.write(self.out, p.blocks(values))
            return
        total = sum_of_squares(x.reshape(len(x), -1, p.lanes)) + self.epsilon
        mantissa, exponent = rsqrt(total)
        p.write(self.out, p.blocks(values), mantissa[:, None], exponent[:, None] - 1)
