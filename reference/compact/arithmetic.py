"""The compact machine's integers: one multiplication, one shift and one limit at a time.

NumPy only. What :mod:`celosia.reference.integer` is to the big machine, this is to the compact one
(docs/compact_machine.md): bit for bit what it computes, one function read top to bottom.
"""

from dataclasses import dataclass, field

import numpy as np
from celosia.reference.arithmetic import bit_length, round_shift, saturate
from celosia.reference.compact.tables import (
    exp_table,
    root_table,
    rotations,
    scale_values,
    sigmoid_table,
)
from celosia.reference.description import Description
from celosia.reference.model import ModelConfig

__all__ = [
    "DOWN_SHIFT",
    "EXTRA",
    "GATE_FRACTION",
    "ROPE_SHIFT",
    "SIGMOID_FRACTION",
    "CompactLayer",
    "CompactLinear",
    "CompactModel",
    "compute",
    "forward",
    "generate",
]

WIDE, HALF, BYTE = 24, 16, 8  # bits that a result is limited to
ROPE_SHIFT = 14  # of sines and cosines
EXTRA = 6  # bits that queries and keys have before their rotation beyond those after it
DOWN_SHIFT = 9  # of the last matrix
GATE_FRACTION = 11  # the most of a gate's bits behind the point, of 16
SIGMOID_FRACTION = 4  # of a sigmoid's argument: the table has steps of 1/16


@dataclass
class CompactLinear:
    """``y = codes @ x * scale_values()[scale] * 2**-shift``.

    Parameters
    ----------
    codes : int8[rows, columns], -8 to 7
    scale : int64[rows], 0 to 15
    shift : int, 0 to 15, beyond what the operation has of its own
    """

    codes: np.ndarray
    scale: np.ndarray
    shift: int


@dataclass
class CompactLayer:
    """One decoder layer: gains int8[dim] and seven matrices."""

    norm_gain: np.ndarray
    q: CompactLinear
    k: CompactLinear
    v: CompactLinear
    o: CompactLinear
    ffn_gain: np.ndarray
    gate: CompactLinear
    up: CompactLinear
    down: CompactLinear


@dataclass
class CompactModel:
    """A model in the compact machine's integers, complete.

    Parameters
    ----------
    config : celosia.reference.model.ModelConfig
    description : celosia.reference.description.Description
    window : int, a multiple of 4
        Positions that attention sees: the latest ones.
    embedding_shift, square_shift, norm_shift, head_norm_shift, score_shift : int
    gate_fraction, logit_fraction : int
        Bits behind the point of gates and logits.
    rotation : int64[head_dim / 2, 2]
        Cosine and sine of a position's angle in units of 2**-15.
    head_gain : int8[dim]
    head, embedding : CompactLinear
        The same codes where they are tied.
    """

    config: ModelConfig
    description: Description
    window: int
    embedding_shift: int
    square_shift: int
    norm_shift: int
    head_norm_shift: int
    score_shift: int
    gate_fraction: int
    logit_fraction: int
    rotation: np.ndarray
    layers: list = field(default_factory=list)
    head_gain: np.ndarray | None = None
    head: CompactLinear | None = None
    embedding: CompactLinear | None = None

    def logits(self, tokens):
        """The logits of tokens from position 0 on; nothing counts saturated values."""
        return forward(self, tokens), {}


def compute(product, shift, width=WIDE, add=0):
    """``round(product / 2**shift)`` limited to ``-2**23 ... 2**23``, plus ``add``, saturated."""
    rounded = np.clip(round_shift(product, shift), -(1 << 23), 1 << 23)
    return saturate(rounded + add, width)


def forward(model, tokens, all_logits=True):
    """The logits of ``tokens``, from position 0 on: int64[n, vocab_size].

    In units of ``2**-model.logit_fraction``. Without ``all_logits`` [1, vocab_size], of the last.
    Bit-exact with the compact machine.
    """
    c, tokens = model.config, np.asarray(tokens)
    n, hd, kv = len(tokens), c.head_dim, c.n_kv_heads
    group = c.n_heads // kv
    cosine, sine, minus_sine = (t[:, None] for t in rotations(model.rotation, n))
    positions = np.arange(n)
    distance = positions[:, None] - positions
    seen = (distance >= 0) & (distance < model.window)

    def norm(x, gains, shift):
        x = compute(x, _excess(x, 15), HALF)
        total = compute((x * x).sum(axis=-1, keepdims=True), model.square_shift)
        root, exponent = _root(total)
        return compute(compute(x * gains, 0) * root, shift + exponent // 2, BYTE)

    def linear(x, op, base=0, width=WIDE, add=0):
        product = _exact(x, op.codes.T) * scale_values()[op.scale]
        return compute(product, base + op.shift, width, add)

    def rope(y, shift):
        even, odd = y[..., 0::2], y[..., 1::2]
        turned = [even * cosine + odd * minus_sine, even * sine + odd * cosine]
        return compute(np.stack(turned, axis=-1).reshape(y.shape), shift, BYTE)

    e = model.embedding
    codes, scales = e.codes[tokens].astype(np.int64), scale_values()[e.scale[tokens]]
    x = compute((codes << 12) * scales[:, None], model.embedding_shift)
    for layer in model.layers:
        h = norm(x, layer.norm_gain, model.norm_shift)
        q = rope(linear(h, layer.q).reshape(n, -1, hd), ROPE_SHIFT + EXTRA)
        k = rope(linear(h, layer.k).reshape(n, -1, hd), ROPE_SHIFT + EXTRA)
        v = linear(h, layer.v, width=BYTE).reshape(n, kv, hd).transpose(1, 0, 2)[:, None]
        q = q.transpose(1, 0, 2).reshape(kv, group, n, hd)
        scores = compute(_exact(q, k.transpose(1, 2, 0)[:, None]) << 4, model.score_shift)
        largest = np.where(seen, scores, -(1 << 23)).max(axis=-1, keepdims=True)
        place = np.clip(largest - scores, 0, 255)
        power = np.where(seen, exp_table()[place], 0)  # [kv, group, n, n]
        root, exponent = _root(power.sum(axis=-1, keepdims=True))
        inverse = compute(root * root, 9, HALF)
        attention = compute(_exact(power, v) * inverse, 21 + exponent, BYTE)
        attention = attention.reshape(c.n_heads, n, hd).transpose(1, 0, 2).reshape(n, -1)
        x = linear(attention, layer.o, add=x)

        h = norm(x, layer.ffn_gain, model.norm_shift)
        gate, up = linear(h, layer.gate, width=HALF), linear(h, layer.up, width=HALF)
        place = np.clip(compute(gate, model.gate_fraction - SIGMOID_FRACTION), -128, 127) + 128
        silu = compute(gate * sigmoid_table()[place], 8)
        hidden = compute(silu * up, model.gate_fraction, HALF)
        exponent = _excess(hidden, 7)
        x = linear(compute(hidden, exponent, BYTE), layer.down, DOWN_SHIFT - exponent, add=x)

    if not all_logits:
        x, n = x[-1:], 1
    return linear(norm(x, model.head_gain, model.head_norm_shift), model.head)


def generate(model, prompt, n):
    """``n`` tokens after ``prompt``, the likeliest each time, and their logits int64[n, vocab]."""
    tokens, logits = list(prompt), []
    for _ in range(n):
        logits.append(forward(model, tokens, all_logits=False)[0])
        tokens.append(int(np.argmax(logits[-1])))
    return tokens[len(prompt) :], np.array(logits)


def _excess(x, bits):
    """By how many bits the vector ``x[..., n]`` is longer than ``bits`` and a sign: [..., 1]."""
    used = np.bitwise_or.reduce(x ^ (x >> 63), axis=-1, keepdims=True)
    return np.maximum(bit_length(used) - bits, 0)


def _root(x):
    """``2**15 / sqrt(x / 2**exponent)`` and the exponent, even: of 7 or 8 leading bits of ``x``."""
    exponent = _excess(x, 8)
    exponent = exponent + (exponent & 1)
    return root_table()[compute(x, exponent) & 255], exponent


def _exact(a, b):
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
