"""Quantisers of drawn shapes for test_properties: component, inputs and expected outputs."""

import numpy as np
from celosia.reference.units.head_quantize import head_quantize
from celosia.reference.units.quantizer import dequantize, dynamic_quantize, static_quantize
from celosia.rtl.attention.head_quantize import HeadQuantize
from celosia.rtl.quantize.dequantizer import Dequantizer
from celosia.rtl.quantize.dynamic_quantizer import DynamicQuantizer
from celosia.rtl.quantize.quantizer import StaticQuantizer
from framing import frame
from hypothesis import strategies as st
from property_shapes import N, power, whole

__all__ = ["UNITS"]


def _vectors(seed, n, size, width):
    chooser = np.random.default_rng(seed)
    top = 1 << (width - 1)
    x = chooser.integers(-top, top, (n, size)) >> chooser.integers(0, width, (n, 1))
    return np.where(chooser.random((n, 1)) < 0.2, chooser.choice([-top, top - 1, 0], (n, size)), x)


def _framed(x, lanes, **more):
    words = []
    for k, vector in enumerate(x):
        columns = {name: np.full((len(vector) // lanes, 1), v[k]) for name, v in more.items()}
        words += frame(vector.reshape(-1, 1, lanes), k % 256, **columns)
    return words


def dynamic_quantizer(lanes, words, x_width, width, symmetric, seed):
    x = _vectors(seed, max(3, N // words), lanes * words, x_width)
    q, steps, zero_point = dynamic_quantize(x, width, symmetric)
    more = {"scale": steps} | ({} if symmetric else {"zero_point": zero_point})
    component = DynamicQuantizer(lanes, words, x_width, width, symmetric)
    return component, _framed(x, lanes), _framed(q, lanes, **more)


def static_quantizer(lanes, words, shift, x_width, width, zero, seed):
    chooser = np.random.default_rng(seed)
    channels = lanes * words
    multipliers = chooser.integers(0, 1 << 16, channels)
    zero_points = chooser.integers(0, 1 << width, channels) if zero else None
    x = _vectors(seed, max(3, N // words), channels, x_width)
    q = static_quantize(x, multipliers, shift, width, zero_points)
    listed = zero_points.tolist() if zero else None
    component = StaticQuantizer(lanes, multipliers.tolist(), shift, x_width, width, 1, listed)
    return component, _framed(x, lanes), _framed(q, lanes)


def dequantizer(lanes, acc_width, sum_width, groups, width, shift, seed):
    chooser = np.random.default_rng(seed)
    shape = (groups, max(2, N // groups), lanes)
    top, half = 1 << (acc_width - 1), 1 << (sum_width - 1)
    parts = {
        "data": chooser.integers(-top, top, shape),
        "scale": chooser.integers(0, 1 << 16, shape),
        "zero_point": chooser.integers(0, 256, shape),
        "sums": chooser.integers(-half, half, shape),
    }
    y = dequantize(parts["data"], parts["scale"], shift, parts["zero_point"], parts["sums"], width)
    inputs = [
        {name: part[g, k].tolist() for name, part in parts.items()}
        | {"end": int(g == groups - 1), "token": 0, "index": k, "argument": shift, "last": 0}
        for k in range(shape[1])
        for g in range(groups)
    ]
    expected = [word | {"last": 0} for word in frame(y[:, None], shift)]
    return Dequantizer(lanes, acc_width, sum_width, groups, width), inputs, expected


def head_quantizer(lanes, head_words, tokens, seed):
    heads = max(2, N // (head_words * tokens))
    x = _vectors(seed, heads * tokens, head_words * lanes, 16).reshape(heads, tokens, -1)
    q, step = head_quantize(x)

    def words(values):
        split = values.reshape(heads, tokens, head_words, lanes).transpose(0, 2, 1, 3)
        return split.reshape(-1, tokens, lanes)

    head, word = np.divmod(np.arange(heads * head_words), head_words)
    more = {
        "step": np.repeat(step, head_words, axis=0),
        "head": np.repeat(head[:, None], tokens, axis=1),
        "word": np.repeat(word[:, None], tokens, axis=1),
    }
    return HeadQuantize(lanes, head_words, tokens), frame(words(x)), frame(words(q), **more)


UNITS = {
    "dequantizer": (
        dequantizer,
        {
            "lanes": power(2),
            "acc_width": whole(8, 40),
            "sum_width": whole(2, 24),
            "groups": whole(1, 5),
            "width": whole(8, 32),
            "shift": whole(0, 62),
        },
    ),
    "dynamic_quantizer": (
        dynamic_quantizer,
        {
            "lanes": power(3),
            "words": whole(1, 6),
            "x_width": whole(8, 18),
            "width": whole(2, 8),
            "symmetric": st.booleans(),
        },
    ),
    "head_quantizer": (
        head_quantizer,
        {"lanes": power(3), "head_words": whole(1, 5), "tokens": whole(1, 4)},
    ),
    "static_quantizer": (
        static_quantizer,
        {
            "lanes": power(2),
            "words": whole(1, 5),
            "shift": whole(0, 40),
            "x_width": whole(2, 24),
            "width": whole(2, 8),
            "zero": st.booleans(),
        },
    ),
}
