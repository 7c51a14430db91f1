"""Norm: of the residual stream, whose scalar waits until behind the next matrix; or of a vector."""

import math
from dataclasses import dataclass

import numpy as np
from celosia.reference.functions.functions import rsqrt
from celosia.reference.quantization.matrix import ceil_log2
from celosia.reference.units.norm import gain, sum_of_squares
from celosia.reference.units.stream_norm import LEAST_SHIFT, stream_norm

__all__ = ["ACTIVATION_WIDTH", "WEIGHTS_SHIFT", "Copy", "IntegerNorm", "IntegerStreamNorm", "Norm"]

RESIDUAL = "x"  # the residual stream's name
WEIGHTS_SHIFT = 14  # bits behind the point of the weights of norms
ACTIVATION_WIDTH = 23  # bits of a value before block quantisation: 8 and shifts of up to 15


@dataclass(frozen=True)
class Norm:
    """``out = y / sqrt(mean(y**2) + eps) * gain + bias``, ``y = weights * input``.

    Of ``groups`` parts, each alone.

    Parameters
    ----------
    input, out : str
    eps : float
    gain, bias : str, optional
    centred : bool
        LayerNorm: the mean is subtracted first.
    groups : int
        The parts of the vector that are normed alone; ``gain`` has the values of one.
    weights : str, optional
    """

    input: str
    out: str
    eps: float
    gain: str | None = None
    bias: str | None = None
    centred: bool = False
    groups: int = 1
    weights: str | None = None

    @property
    def key(self):
        """The name under which calibration knows it."""
        return self.gain or self.weights or f"norm of {self.input}"

    def shapes(self, sizes):
        shape = (sizes[self.input] // self.groups,)
        return {name: shape for name in (self.gain, self.bias, self.weights) if name}

    def run(self, p):
        x = p.read(self.input)
        if self.weights:
            x = x * p.tensor(self.weights)
        parts = x.reshape(len(x), self.groups, -1)
        if self.centred:
            parts = parts - parts.mean(axis=-1, keepdims=True, dtype=np.float32)
        gains = p.tensor(self.gain) if self.gain else np.float32(1.0)
        p.observe(self.key, np.abs(parts * gains).reshape(x.shape))
        p.observe(f"{self.key} input", x)
        mean = np.mean(parts * parts, axis=-1, keepdims=True, dtype=np.float32)
        y = parts / np.sqrt(mean + np.float32(self.eps)) * gains
        if self.bias:
            y = y + p.tensor(self.bias)
        p.observe(f"{self.key} output", y.reshape(x.shape))
        p.write(self.out, y.reshape(x.shape))

    def demand(self, q):
        if self.input != RESIDUAL and q.wanted(self.out):
            q.ask(self.input, 2.0 ** q.norm_input_fraction(self))

    def quantize(self, q):
        if self.out == RESIDUAL:
            raise ValueError(
                f"{self.key} replaces the residual stream by its norm, for which there is no unit: "
                "norms in front of attention and MLP, or of what these add, have one"
            )
        if self.centred or (self.bias and self.input == RESIDUAL):
            raise ValueError(f"{self.key}: this LayerNorm has no unit")
        if self.input != RESIDUAL:
            return self._stream(q)
        n, weights, residual = q.size(self.input), None, q.residual
        if self.weights:
            weights, residual = self._weights(q), residual - q.weights_bits
        gains = q.tensor(self.gain) if self.gain else np.ones(n, np.float32)
        mantissas, shift, fraction = _gain(gains, q, q.seen(self.key), residual)
        q.give(self.out, math.sqrt(n) * 2.0 ** (residual - fraction))
        return IntegerNorm(self, mantissas, shift, 1, weights)  # epsilon: see Quantizer

    def _weights(self, q):
        """In units that are those of all such norms."""
        places, size = q.places(self.input)
        weights = np.zeros(size, np.int64)
        unit = 2.0 ** (WEIGHTS_SHIFT - q.weights_bits)
        weights[places] = np.round(q.tensor(self.weights) * unit)
        return weights

    def _stream(self, q):
        """Of a vector other than the residual stream, on its way."""
        size = q.size(self.input)
        n = size // self.groups
        gains = q.tensor(self.gain) if self.gain else np.ones(n, np.float32)
        if q.wanted(self.out):
            unit, want, width = 1 / q.want(self.input)[0], q.want(self.out), 24
        else:  # an activation
            unit, width = q.unit(self.input), ACTIVATION_WIDTH
            fraction = width - 2 - ceil_log2(q.margin * q.seen(f"{self.key} output").max())
            most = 14 - LEAST_SHIFT - ceil_log2(max(np.abs(gains).max() * math.sqrt(n), 2.0**-100))
            fraction = min(fraction, most)
            want = np.array([2.0**fraction])
            q.give(self.out, 2.0**-fraction)
        real = np.tile(gains, self.groups) * math.sqrt(n) * want
        if self.groups > 1 and np.ptp(real.reshape(self.groups, n), axis=0).any():
            raise ValueError(f"{self.key}: its parts need gains of their own")
        shift = min(14 - ceil_log2(max(np.abs(real).max(), 2.0**-100)), 15)
        places, padded = q.places(self.input)
        mantissas = np.zeros(padded, np.int64)
        mantissas[places] = np.round(real * 2.0**shift)
        epsilon = max(1, round(n * self.eps / unit**2))
        part, offsets = slice(padded // self.groups), None
        if self.bias:
            offsets = np.zeros(padded, np.int64)
            offsets[places] = np.round(np.tile(q.tensor(self.bias), self.groups) * want)
            offsets = offsets[part]
        return IntegerStreamNorm(self, mantissas[part], shift, epsilon, width, offsets)


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
        mantissas, shift, fraction = _gain(ones, q, q.seen(self.key), q.residual)
        q.give(self.out, 2.0**-fraction)
        return IntegerNorm(self, mantissas, shift, None)


def _gain(gains, q, largest, residual):
    """int16 gains[padded size], the shift behind the product, and the product's binary point."""
    mantissa_shift = 14 - ceil_log2(max(np.abs(gains).max(), 2.0**-100))
    places, size = q.scheme.columns_of(len(gains))
    mantissa = np.zeros(size, np.int64)
    mantissa[places] = np.round(gains.astype(np.float64) * 2.0**mantissa_shift)
    fraction = ACTIVATION_WIDTH - 3 - ceil_log2(np.max(largest))
    fraction = min(fraction, residual + mantissa_shift - 1)
    return mantissa, residual + mantissa_shift - fraction, fraction


@dataclass(eq=False)
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
    weights : int16[padded size], optional
        What the residual is multiplied by before it is normed, in units of 2**-14.
    """

    source: Norm
    gains: np.ndarray
    shift: int
    epsilon: int | None
    weights: np.ndarray | None = None

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
        if self.weights is not None:
            x = gain(x, self.weights, WEIGHTS_SHIFT, p.width)
        values = gain(x, self.gains, self.shift, ACTIVATION_WIDTH)
        p.count("activations", values, ACTIVATION_WIDTH)
        if self.epsilon is None:
            p.write(self.out, p.blocks(values))
            return
        total = sum_of_squares(x.reshape(len(x), -1, p.lanes)) + self.epsilon
        mantissa, exponent = rsqrt(total)
        p.write(self.out, p.blocks(values), mantissa[:, None], exponent[:, None] - 1)


@dataclass(eq=False)
class IntegerStreamNorm:
    """Each part of a vector over the root of its sum of squares, times gains, plus offsets.

    Parameters
    ----------
    source : Norm
    gains : int16[padded size of a part]
    shift : int
        Behind the product.
    epsilon : int
        In squared units of the input, for the whole part.
    width : int
        Of the result, which goes to the activation memory where that is 23.
    offsets : int[padded size of a part], optional
        In units of the result.
    """

    source: Norm
    gains: np.ndarray
    shift: int
    epsilon: int
    width: int
    offsets: np.ndarray | None = None

    @property
    def input(self):
        """The vector that is normed."""
        return self.source.input

    @property
    def out(self):
        """The vector that it makes."""
        return self.source.out

    def run(self, p):
        x = p.read(self.source.input).values
        parts = x.reshape(len(x), self.source.groups, -1, p.lanes)
        gains = self.gains.reshape(-1, p.lanes)
        offsets = 0 if self.offsets is None else self.offsets.reshape(gains.shape)
        y = stream_norm(parts, gains, self.epsilon, self.shift, self.width, offsets)
        y = y.reshape(x.shape)
        if self.width == ACTIVATION_WIDTH:
            p.count("activations", y, ACTIVATION_WIDTH)
            p.write(self.source.out, p.blocks(y))
        else:
            p.write(self.source.out, y)
