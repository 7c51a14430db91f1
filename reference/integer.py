"""The integer model: what the hardware computes, bit for bit, one function read top to bottom.

NumPy only. All positions of a call are computed at once; matrix products run in float64, in which
every sum here is exact (below 2**53).
"""

from dataclasses import dataclass, field

import numpy as np
from celosia.reference.arithmetic import saturate, saturations
from celosia.reference.block_quantize import block_quantize
from celosia.reference.functions import reciprocal, rsqrt, sine_cosine
from celosia.reference.gate import gate
from celosia.reference.head_quantize import STEP_SHIFT, head_quantize
from celosia.reference.norm import gain, sum_of_squares
from celosia.reference.quantize import ACTIVATION_WIDTH
from celosia.reference.rope import rope
from celosia.reference.sampler import Sampler
from celosia.reference.scale import scale
from celosia.reference.softmax import EMPTY, align, softmax_block

__all__ = ["IntegerCache", "forward", "generate"]

SATURATED = ("residual", "activations", "values")
QUERIES = 64  # of a call, whose scores are held at once


@dataclass
class IntegerCache:
    """Rotated keys and values of ``length`` positions, int8[n_layers, n_kv_heads, seq, head_dim].

    ``key_steps`` int64[n_layers, n_kv_heads, seq] are what the keys are multiplied by.
    ``saturated`` counts what reached the limits of its format in all these positions: values of the
    residual stream, activations before block quantisation, and cached values.
    """

    keys: np.ndarray
    key_steps: np.ndarray
    values: np.ndarray
    length: int = 0
    saturated: dict = field(default_factory=lambda: dict.fromkeys(SATURATED, 0))

    @classmethod
    def empty(cls, model, seq_len=None):
        """An empty cache for ``seq_len`` positions, the model's own by default."""
        c = model.config
        seq_len = model.scheme.padded(seq_len or c.seq_len)
        shape = (c.n_layers, c.n_kv_heads, seq_len, model.head_dim)
        return cls(
            np.zeros(shape, np.int8), np.zeros(shape[:-1], np.int64), np.zeros(shape, np.int8)
        )

    def at(self, layer, n):
        """Keys, their steps, and values of one layer's first ``n`` positions."""
        return self.keys[layer, :, :n], self.key_steps[layer, :, :n], self.values[layer, :, :n]


def forward(model, tokens, cache=None, all_logits=True):
    """The logits of ``tokens`` in units of 2**-12: int64[n, vocab_size], or [1, ...] of the last.

    Bit-exact with the generated machine. ``cache`` is extended in place.
    """
    c, s = model.config, model.scheme
    lanes, hd, width = s.lanes, model.head_dim, s.residual_width
    cache = IntegerCache.empty(model) if cache is None else cache
    start, n = cache.length, len(tokens)
    end = start + n
    if end > cache.keys.shape[2]:
        raise ValueError(f"{end} positions exceed the cache's {cache.keys.shape[2]}")
    positions = np.arange(start, end)
    sine, cosine = (t[:, None] for t in sine_cosine(positions, model.rope_increments))
    sine, cosine = (_pad(t, hd // 2) for t in (sine, cosine))  # [n, 1, head_dim / 2]

    def count(kind, x, bits):
        cache.saturated[kind] += saturations(x, bits)

    def norm(x, gains, shift):
        count("residual", x, width)
        total = sum_of_squares(x.reshape(n, -1, lanes)) + model.epsilon
        mantissa, exponent = rsqrt(total)
        values = gain(x, gains, shift, ACTIVATION_WIDTH)
        count("activations", values, ACTIVATION_WIDTH)
        return _block(values, lanes), mantissa[:, None], exponent[:, None] - 1

    def linear(x, op, mantissa=1 << 16, exponent=0):
        acc = _exact(x, op.matrix)  # [n, rows]
        return scale(acc, op.scale, op.shift + exponent, mantissa, width=24)

    tokens = np.asarray(tokens)
    e = model.embedding
    x = scale(e.integers(tokens), e.scale[tokens][:, None], e.shift, width=width)  # [n, dim]
    for index, layer in enumerate(model.layers):
        h, mantissa, exponent = norm(x, layer.norm_gain, layer.norm_shift)
        q = linear(h, layer.q, mantissa, exponent).reshape(n, c.n_heads, hd)
        k = linear(h, layer.k, mantissa, exponent).reshape(n, c.n_kv_heads, hd)
        v = linear(h, layer.v, mantissa, exponent).reshape(n, c.n_kv_heads, hd)
        q, q_step = head_quantize(rope(q, sine, cosine))
        k, k_step = head_quantize(rope(k, sine, cosine))
        cache.keys[index, :, start:end] = k.transpose(1, 0, 2)
        cache.key_steps[index, :, start:end] = k_step.T
        cache.values[index, :, start:end] = saturate(v, 8).transpose(1, 0, 2)
        count("values", v, 8)
        attention = np.empty((n, c.n_heads * hd), np.int64)
        for first in range(0, n, QUERIES):
            some = slice(first, first + QUERIES)
            cached = cache.at(index, s.padded(positions[some][-1] + 1))
            attention[some] = _attention(
                model, layer, (q[some], q_step[some]), cached, positions[some]
            )
        count("activations", attention, ACTIVATION_WIDTH)
        y = linear(_block(attention, lanes), layer.o)
        x = saturate(x + y, width)

        h, mantissa, exponent = norm(x, layer.ffn_gain, layer.ffn_shift)
        gate_up = linear(h, layer.gate_up, mantissa, exponent).reshape(n, -1, 2, lanes)
        hidden = gate(gate_up[:, :, 0], gate_up[:, :, 1], layer.swiglu_shift, ACTIVATION_WIDTH)
        count("activations", hidden, ACTIVATION_WIDTH)
        y = linear(_block(hidden.reshape(n, -1), lanes), layer.down)
        x = saturate(x + y, width)

    cache.length = end
    h, mantissa, exponent = norm(x, model.head_gain, model.head_gain_shift)
    if not all_logits:
        h, mantissa, exponent = h[-1:], mantissa[-1:], exponent[-1:]
    return linear(h, model.head, mantissa, exponent)  # [n, vocab_size]


def _attention(model, layer, queries, cached, positions):
    """Softmax of the scores of ``queries`` over the ``cached`` keys, times the cached values.

    Queries are int[n, heads, head_dim] and their steps int[n, heads]; each sees the keys up to its
    own one of ``positions``.
    """
    c, lanes = model.config, model.scheme.lanes
    keys, key_steps, values = cached
    n, blocks = len(positions), keys.shape[1]
    seen = np.arange(blocks) <= positions[:, None]  # [n, blocks]
    shape = (c.n_kv_heads, c.n_heads // c.n_kv_heads, n)
    q = queries[0].transpose(1, 0, 2).reshape(*shape, -1)
    q_step = queries[1].T.reshape(*shape, 1)
    acc = _exact(q, keys[:, None].transpose(0, 1, 3, 2))  # [kv, group, n, blocks]
    row_scale = key_steps[:, None, None] << STEP_SHIFT
    scores = scale(acc, row_scale, layer.score_shift, q_step << STEP_SHIFT, width=16)
    scores = scores.reshape(*shape, -1, lanes)
    power, exponent = softmax_block(scores, seen.reshape(n, -1, lanes))
    power, shift = align(power, exponent, exponent.max(axis=-1, initial=EMPTY, keepdims=True))
    power = (power << shift[..., None]).reshape(*shape, blocks)
    mantissa, exponent = reciprocal(power.sum(axis=-1, keepdims=True))
    acc = _exact(power, values[:, None])  # [kv, group, n, head_dim]
    row_scale = layer.value_scale[:, None, None]
    out = scale(acc, row_scale, layer.value_shift + exponent - 1, mantissa, ACTIVATION_WIDTH)
    return out.reshape(c.n_heads, n, -1).transpose(1, 0, 2).reshape(n, -1)


def generate(model, prompt, n, temperature=0, seed=0, cache=None):
    """``n`` tokens after ``prompt`` and the logits they were drawn from, int64[n, vocab_size].

    ``temperature`` is in units of 1/256. Nothing stops at an end token.
    """
    cache = IntegerCache.empty(model) if cache is None else cache
    sampler = Sampler(model.scheme.lanes, 12, temperature, seed)
    tokens, logits, new = [], [], list(prompt)
    for _ in range(n):
        logits.append(forward(model, new, cache, all_logits=False)[-1])
        new = [sampler(logits[-1])]
        tokens += new
    return tokens, np.array(logits)


def _block(x, lanes):
    """``x`` int[n, size] through block quantisation, back as integers: float64 for the products."""
    mantissa, exponent = block_quantize(x.reshape(len(x), -1, lanes))
    return (mantissa << exponent[..., None]).reshape(x.shape)


def _exact(a, b):
    return (a.astype(np.float64) @ b.astype(np.float64, copy=False)).astype(np.int64)


def _pad(x, size):
    return np.concatenate([x, np.zeros((*x.shape[:-1], size - x.shape[-1]), x.dtype)], axis=-1)
