"""The references of the units against float64, for docs/accuracy.md; all inputs are seeded."""

from collections import namedtuple

import numpy as np
from celosia.reference.functions.function_table import FUNCTIONS, named
from celosia.reference.functions.functions import reciprocal, rsqrt, sine_cosine
from celosia.reference.units.block_quantize import block_quantize
from celosia.reference.units.gate import gate
from celosia.reference.units.hadamard import hadamard, hadamard_matrix
from celosia.reference.units.head_quantize import head_quantize
from celosia.reference.units.layer_norm import layer_norm
from celosia.reference.units.quantizer import dequantize, dynamic_quantize, static_quantize
from celosia.reference.units.rope import rope
from celosia.reference.units.sampler import gumbel
from celosia.reference.units.scale import scale
from celosia.reference.units.soft_cap import soft_cap
from celosia.reference.units.softmax import softmax
from celosia.reference.units.stream_norm import stream_norm

LANES = 8
Row = namedtuple("Row", "name what count largest mean")


def units():
    """A Row for each unit against float64, errors in units of the result's last place."""
    rng = np.random.default_rng(0)
    for name, (f, low, high, x_fraction, y_fraction, _) in FUNCTIONS.items():
        x = np.arange(low, high)
        exact = f(x / 2.0**x_fraction) * 2.0**y_fraction
        what = f"all {high - low} inputs, units of 2**-{y_fraction}"
        yield _row(name, what, named(name)(x), exact)
    for name, f, power in (("rsqrt (wide)", rsqrt, -0.5), ("reciprocal (wide)", reciprocal, -1)):
        x = np.unique(np.exp2(rng.uniform(0, 61, 100_000)).astype(np.int64))
        mantissa, shift = f(x)
        exact = x.astype(np.float64) ** power * np.exp2(15.0 + shift)
        yield _row(name, "1 to 2**61, units of the mantissa (16 bits)", mantissa, exact)
    positions, increments = np.arange(4096), rng.integers(1, 1 << 32, 32)
    angles = positions[:, None] * increments / 2.0**32 * 2 * np.pi
    sine, cosine = sine_cosine(positions, increments)
    yield _row("sine and cosine", "units of 2**-14", sine, np.sin(angles) * 2**14)
    x = np.round(rng.normal(0, 4000, (4096, 64))).astype(np.int64)
    even, odd = x[:, 0::2], x[:, 1::2]
    exact = [even * np.cos(angles) - odd * np.sin(angles), even * np.sin(angles)]
    exact[1] = exact[1] + odd * np.cos(angles)
    exact = np.stack(exact, axis=-1).reshape(x.shape)
    yield _row("rope", "normal values of 13 bits", rope(x, sine, cosine), exact)
    for n in (64, 576, 1536):
        x = rng.integers(-1 << 15, 1 << 15, (50, n))
        exact = x @ hadamard_matrix(n, LANES) / np.sqrt(n)
        yield _row(f"hadamard, n = {n}", "values of 16 bits", hadamard(x, LANES), exact)
    for n in (64, 768):
        x = np.round(rng.normal(300, 1000, (50, n))).astype(np.int64)
        gains, biases = rng.integers(0, 1 << 13, n), rng.integers(-1 << 12, 1 << 12, n)
        exact = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) * gains + biases
        y = layer_norm(x, gains, biases, 1, 0, 24)
        yield _row(f"layer_norm, n = {n}", "gains of 13 bits", y, exact)

    for n, width in ((64, 8), (64, 16), (1024, 16)):
        x = np.round(rng.normal(0, 2.0 ** rng.uniform(5, 10, (200, 1)), (200, n))).astype(np.int64)
        exact = np.exp((x - x.max(-1, keepdims=True)) / 256)
        exact *= 2.0**width / exact.sum(-1, keepdims=True)
        y = softmax(x, 1 / 256, LANES, 128, None, width)
        yield _row(f"softmax, n = {n}, {width} bits", "units of 2**-8", y, exact)
    yield from quantisers(rng)


def quantisers(rng):
    """Rows for the units that change formats."""
    x = np.round(rng.normal(0, 2.0 ** rng.uniform(3, 13, (2000, 1)), (2000, 64))).astype(np.int64)
    for width, symmetric in ((8, True), (4, True), (8, False), (4, False)):
        q, step, zero_point = dynamic_quantize(x, width, symmetric)
        name = f"dynamic_quantize, {width} bits{'' if symmetric else ', zero points'}"
        y = (q - zero_point[:, None]) * step[:, None] / 256
        yield _row(
            name,
            "normal vectors of 64, units of the step",
            y * 256 / step[:, None],
            x * 256 / step[:, None],
        )
    multiplier = rng.integers(1 << 8, 1 << 16, 64)
    exact = np.clip(x * multiplier / 2.0**21, -127, 127)
    yield _row(
        "static_quantize", "the same, per channel", static_quantize(x, multiplier, 21), exact
    )
    acc, scales = rng.integers(-1 << 20, 1 << 20, (4, 9999)), rng.integers(0, 1 << 16, (4, 9999))
    sums, points = rng.integers(-1 << 11, 1 << 11, (4, 9999)), rng.integers(0, 256, (4, 9999))
    exact = ((acc - points * sums) * scales).sum(0) / 2.0**16
    y = dequantize(acc, scales, 16, points, sums, 32)
    yield _row("dequantize", "4 groups with zero points", y, exact)
    mantissa, exponent = block_quantize(x.reshape(-1, LANES))
    exact = x.reshape(-1, LANES) / 2.0 ** exponent[:, None]
    yield _row("block_quantize", "the same vectors, units of the block", mantissa, exact)
    q, step = head_quantize(x)
    yield _row("head_quantize", "the same vectors, units of the step", q, x / step[:, None])
    acc, mantissa = rng.integers(-1 << 30, 1 << 30, 99999), rng.integers(1 << 15, 1 << 16, 99999)
    exact = acc * (40000.0 * mantissa) / 2.0**46
    yield _row("scale", "results of 16 bits", scale(acc, 40000, 30, mantissa), exact)
    yield from _gates(*np.round(rng.normal(0, 4096 * 2, (2, 99999))).astype(np.int64))
    bits = rng.integers(1, 1 << 32, 99999)
    exact = -np.log(-np.log1p(-bits / 2.0**32)) * 2048
    yield _row("gumbel", "units of 2**-11; 64 steps to an octave of chance", gumbel(bits), exact)
    yield from _wholes(rng)


def _gates(x, up):
    exact = x / (1 + np.exp(-x / 4096)) * up / 4096
    yield _row("gate, silu", "units of 2**-12", gate(x, up, 12, 24), exact)
    for activation in ("gelu", "gelu_tanh"):
        exact = FUNCTIONS[activation][0](x / 4096) * 4096
        y = gate(x, None, 0, 24, activation)
        yield _row(f"gate, {activation}", "plain, units of 2**-12", y, exact)
    exact = np.maximum(x, 0) ** 2 * 2.0**-15
    yield _row("gate, relu2", "plain, units of 2**-9", gate(x, None, 0, 24, "relu2"), exact)


def _wholes(rng):
    """Rows for StreamNorm and SoftCap."""
    for n in (64, 2048):
        x = np.round(rng.normal(0, 2.0**14, (50, n))).astype(np.int64)
        gains = rng.integers(0, 1 << 13, n)
        exact = x / np.sqrt((x * x).sum(-1, keepdims=True)) * gains * 8
        y = stream_norm(x.reshape(50, -1, LANES), gains.reshape(-1, LANES), 1, -3, 24)
        yield _row(f"stream_norm, n = {n}", "gains of 13 bits", y.reshape(50, n), exact)
    x, cap = np.round(rng.normal(0, 50 << 12, 99999)).astype(np.int64), 50 << 12
    yield _row("soft_cap", "50, units of 2**-12", soft_cap(x, cap), cap * np.tanh(x / cap))


def _row(name, what, y, exact):
    error = np.abs(y - exact)
    return Row(name, what, error.size, error.max(), error.mean())
