"""The integer model: what the hardware computes, bit for bit, operation after operation.

NumPy only. All positions of a call are computed at once; matrix products run in float64, in which
every sum here is exact (below 2**53). What an operation computes stands at the operation, in
:mod:`celosia.reference.operations`.
"""

from dataclasses import dataclass, field

import numpy as np
from celosia.reference.arithmetic import saturate, saturations
from celosia.reference.operations.norm import ACTIVATION_WIDTH
from celosia.reference.units.block_quantize import block_quantize
from celosia.reference.units.sampler import Sampler
from celosia.reference.units.scale import limited

__all__ = ["SATURATED", "IntegerCache", "Pass", "Vector", "forward", "generate"]

SATURATED = ("residual", "activations", "values", "heads", "scores", "gates", "scaled")


@dataclass
class IntegerCache:
    """Rotated keys and values of ``length`` positions, int8[n_layers, n_kv_heads, seq, head_dim].

    ``key_steps`` int64[n_layers, n_kv_heads, seq] are what the keys are multiplied by,
    ``value_steps`` logarithms of what the values are, where they have such steps.
    ``saturated`` counts what reached the limits of its format in all these positions: values of the
    residual stream, activations before block quantisation, cached values or what states take,
    rotated queries and keys, scores (at the lower limit only that of the token with itself), gates
    and what they gate, and what the scaling stage limited. ``states`` are those of the layers that
    have any, int64[dim].
    """

    keys: np.ndarray
    key_steps: np.ndarray
    values: np.ndarray
    value_steps: np.ndarray
    length: int = 0
    saturated: dict = field(default_factory=lambda: dict.fromkeys(SATURATED, 0))
    states: dict = field(default_factory=dict)

    @classmethod
    def empty(cls, model, seq_len=None):
        """An empty cache for ``seq_len`` positions, the model's own by default."""
        c = model.config
        seq_len = model.scheme.padded(seq_len or c.seq_len)
        shape = (c.n_layers, c.n_kv_heads, seq_len, model.head_dim)
        codes, steps = np.zeros((2, *shape), np.int8), np.zeros((2, *shape[:-1]), np.int64)
        return cls(codes[0], steps[0], codes[1], steps[1])

    def store(self, layer, positions, keys, steps, values, value_steps=0):
        """Store keys and values int8[n, n_kv_heads, head_dim], steps int64[n, n_kv_heads]."""
        place = slice(positions[0], positions[-1] + 1)
        self.keys[layer, :, place] = keys.transpose(1, 0, 2)
        self.key_steps[layer, :, place] = steps.T
        self.values[layer, :, place] = values.transpose(1, 0, 2)
        self.value_steps[layer, :, place] = np.transpose(value_steps)

    def at(self, layer, n):
        """Keys, their steps, values, and theirs, of one layer's first ``n`` positions."""
        found = self.keys, self.key_steps, self.values, self.value_steps
        return tuple(array[layer, :, :n] for array in found)


@dataclass
class Vector:
    """A vector of every token, int[n, size], and what waits to be multiplied with its products.

    That is ``mantissa * 2**(-16 - exponent)``, [n, 1] each, or 1.
    """

    values: np.ndarray
    mantissa: object = 1 << 16
    exponent: object = 0

    def of(self, tokens):
        """Those of some ``tokens``."""
        parts = (x if np.ndim(x) == 0 else x[tokens] for x in (self.mantissa, self.exponent))
        return Vector(self.values[tokens], *parts)


class Pass:
    """The vectors of some tokens on their way through a quantised model.

    Members
    -------
    model : QuantizedModel
    tokens, positions : int[n]
    lanes, head_dim, width : int
        Values in a block; of a head, padded; bits of the residual stream.
    cache : IntegerCache
    all_logits : bool
    """

    def __init__(self, model, tokens, cache, all_logits):
        self.model = model
        self.tokens = np.asarray(tokens)
        self.positions = np.arange(cache.length, cache.length + len(tokens))
        self.lanes = model.scheme.lanes
        self.head_dim = model.head_dim
        self.width = model.scheme.residual_width
        self.padded = model.scheme.padded
        self.cache = cache
        self.all_logits = all_logits
        self.vectors = {}
        self._found = {}

    def once(self, key, function, *arguments):
        """What ``function`` gives, which several operations of the pass ask for."""
        if key not in self._found:
            self._found[key] = function(*arguments)
        return self._found[key]

    def read(self, name):
        """A vector."""
        return self.vectors[name]

    def write(self, name, values, mantissa=1 << 16, exponent=0):
        """Give a vector its values, and the scalar that waits."""
        self.vectors[name] = Vector(values, mantissa, exponent)

    def finish(self, name, values):
        """Write a vector to the activation memory, in blocks; or as it is, if a norm takes it."""
        if name in self.model.normed_on_the_way:
            self.write(name, values)
            return
        self.count("activations", values, ACTIVATION_WIDTH)
        self.write(name, self.blocks(values))

    def saturated(self, x):
        """``x`` limited to the residual stream's width."""
        return saturate(x, self.width)

    def count(self, kind, x, bits):
        """Count what is at the limits of ``bits``, or beyond."""
        self.cache.saturated[kind] += saturations(x, bits)

    def count_limited(self, acc, shift, seen=True):
        """Count what the scaling stage limits."""
        self.cache.saturated["scaled"] += int(np.count_nonzero(limited(acc, shift) & seen))

    def blocks(self, x):
        """``x`` int[n, size] through block quantisation, as integers."""
        width = self.model.scheme.activation_width
        mantissa, exponent = block_quantize(x.reshape(len(x), -1, self.lanes), width, 8 - width)
        return (mantissa << exponent[..., None]).reshape(x.shape)

    @staticmethod
    def exact(a, b):
        """``a @ b``, exact: int64."""
        return (a.astype(np.float64) @ b.astype(np.float64, copy=False)).astype(np.int64)


def forward(model, tokens, cache=None, all_logits=True):
    """The logits of ``tokens``: int64[n, vocab_size], or [1, ...] of the last.

    In units of ``2**-model.logit_fraction``. Bit-exact with the generated machine. ``cache`` is
    extended in place.
    """
    cache = cache or IntegerCache.empty(model, min(len(tokens), model.config.seq_len))
    end = cache.length + len(tokens)
    if end > cache.keys.shape[2]:
        raise ValueError(f"{end} positions exceed the cache's {cache.keys.shape[2]}")
    p = Pass(model, tokens, cache, all_logits)
    for operation in model.operations:
        operation.run(p)
    cache.length = end
    return p.read("logits").values  # [n, vocab_size]


def generate(model, prompt, n, temperature=0, seed=0, cache=None):
    """``n`` tokens after ``prompt`` and the logits they were drawn from, int64[n, vocab_size].

    ``temperature`` is in units of 1/256. Nothing stops at an end token.
    """
    positions = min(len(prompt) + n - 1, model.config.seq_len)
    cache = cache or IntegerCache.empty(model, positions)
    sampler = Sampler(model.scheme.lanes, model.logit_fraction, temperature, seed)
    tokens, logits, new = [], [], list(prompt)
    for _ in range(n):
        logits.append(forward(model, new, cache, all_logits=False)[-1])
        new = [sampler(logits[-1])]
        tokens += new
    return tokens, np.array(logits)
