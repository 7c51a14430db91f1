"""The float32 forward pass: what the integer model is measured against."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Cache", "Pass", "forward", "generate", "sample", "softmax"]


@dataclass
class Cache:
    """The keys (rotated) and values of the positions a model has seen.

    ``length`` positions are valid in ``keys`` and ``values``, float32[n_layers, positions,
    n_kv_heads, head_dim]. ``states`` are those that follow a layer's last position, float32[dim],
    where it has any.
    """

    keys: np.ndarray
    values: np.ndarray
    length: int = 0
    states: dict = field(default_factory=dict)

    @classmethod
    def empty(cls, config, positions=None):
        """Room for ``positions``, by default the model's ``seq_len``."""
        positions = config.seq_len if positions is None else positions
        shape = (config.n_layers, positions, config.n_kv_heads, config.head_dim)
        return cls(np.zeros(shape, np.float32), np.zeros(shape, np.float32))


def softmax(x):
    """``exp(x - max(x)) / sum(exp(x - max(x)))`` over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Pass:
    """The vectors of some tokens on their way through a model: what operations read and write.

    Members
    -------
    tokens, positions : int[n]
    layer : int or None
    """

    def __init__(self, model, tokens, cache, observe):
        self.model = model
        self.tokens = tokens
        self.cache = cache
        self.positions = np.arange(cache.length, cache.length + len(tokens))
        self.layer = None
        self.vectors = {}
        self._found = {}
        self._observe = observe

    def tensor(self, name):
        """A tensor of the layer, or of the model."""
        return self._tensors[name]

    def once(self, key, function, *arguments):
        """What ``function`` gives, which several operations of the pass ask for."""
        if key not in self._found:
            self._found[key] = function(*arguments)
        return self._found[key]

    def read(self, name):
        """A vector of every token, float32[n, size]."""
        return self.vectors[name]

    def write(self, name, array):
        """Give a vector its values; they are observed under its name."""
        self.vectors[name] = array
        self.observe(name, array)

    def observe(self, name, array):
        """Show an intermediate array to who asked for it."""
        if self._observe:
            self._observe(name, self.layer, array)

    def cached(self, k, v):
        """Append keys and values; give the layer's of all positions so far."""
        own = slice(self.positions[0], self.positions[-1] + 1)
        self.cache.keys[self.layer, own] = k
        self.cache.values[self.layer, own] = v
        return (x[self.layer, : own.stop] for x in (self.cache.keys, self.cache.values))

    def run(self, operations, layer=None):
        """Run ``operations`` in order, those of one layer or of none."""
        self.layer = layer
        self._tensors = self.model.tensors if layer is None else self.model.layers[layer]
        for operation in operations:
            operation.run(self)


def forward(model, tokens, cache=None, all_logits=True, observe=None):
    """The logits of each of ``tokens``: float32[n, vocab_size], or [1, vocab_size] of the last.

    Parameters
    ----------
    model : Model
    tokens : sequence of n ints, each below ``vocab_size``
    cache : Cache, optional
        Extended in place; the tokens follow the ones it has seen.
    all_logits : bool
        False computes the last token's logits only.
    observe : callable(name, layer, array), optional
        Receives each vector when it is written, under its name, and what operations show beside:
        ``queries`` and ``keys`` (as they meet), ``values``, ``scores`` (the unseen at minus
        infinity), ``attention``, ``gate``, ``up``, ``hidden``, and magnitudes of a norm's products
        with its gains under the gains' name. ``layer`` is None outside the layers.

    Raises
    ------
    ValueError
        If there is no token, one is out of range, or the positions exceed ``seq_len``.
    """
    tokens = np.asarray(tokens)
    cache = Cache.empty(model.config, len(tokens)) if cache is None else cache
    _check(tokens, cache.length + len(tokens), model.config)
    p = Pass(model, tokens, cache, observe)
    p.run(model.description.begin)
    for index, operations in enumerate(model.description.layers):
        p.run(operations, index)
    cache.length += len(tokens)
    if not all_logits:
        p.vectors["x"] = p.vectors["x"][-1:]
    p.run(model.description.end)
    return p.vectors["logits"]


def sample(logits, temperature, uniform):
    """A token from ``softmax(logits / temperature)`` by inverse transform of ``uniform``, [0, 1).

    Temperature 0 takes the largest logit, the lowest token among equals.
    """
    if temperature == 0:
        return int(np.argmax(logits))
    cumulative = np.cumsum(softmax(logits.astype(np.float64) / temperature))
    return int(min(np.searchsorted(cumulative, uniform * cumulative[-1], "right"), len(logits) - 1))


def generate(model, prompt, n, temperature=0.0, seed=0):
    """The list of ``n`` tokens that follow the tokens ``prompt``, one forward pass each.

    Generation does not stop at an end token. The last token is never fed back, so that
    ``len(prompt) + n - 1`` positions must fit in ``seq_len``.

    Raises
    ------
    ValueError
        If the positions exceed ``seq_len``, the prompt is empty or ``temperature`` is negative.
    """
    if not (np.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature must be 0 or more, not {temperature!r}")
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n!r}")
    _check(np.asarray(prompt), len(prompt) + n - 1, model.config)
    generator = np.random.default_rng(seed)
    cache = Cache.empty(model.config, len(prompt) + n - 1)
    tokens, new = [], prompt
    while len(tokens) < n:
        logits = forward(model, new, cache, all_logits=False)[-1]
        tokens.append(sample(logits, temperature, generator.random()))
        new = tokens[-1:]
    return tokens


def _check(tokens, end, config):
    if tokens.ndim != 1 or not len(tokens):
        raise ValueError("tokens must be a sequence of at least one token")
    if not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"tokens must be integers, not {tokens.dtype}")
    for token in (tokens.min(), tokens.max()):
        if not 0 <= token < config.vocab_size:
            raise ValueError(f"tokens must be from 0 to {config.vocab_size - 1}, not {token}")
    if end > config.seq_len:
        raise ValueError(f"{end} positions exceed seq_len, {config.seq_len}")
