"""The float32 forward pass of a Llama-family model: what the integer model is measured against."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Cache", "forward", "generate", "rms_norm", "rope", "sample", "softmax"]


@dataclass
class Cache:
    """The keys (rotated) and values of the positions a model has seen.

    ``length`` positions are valid in ``keys`` and ``values``, float32[n_layers, positions,
    n_kv_heads, head_dim].
    """

    keys: np.ndarray
    values: np.ndarray
    length: int = 0

    @classmethod
    def empty(cls, config, positions=None):
        """Room for ``positions``, by default the model's ``seq_len``."""
        positions = config.seq_len if positions is None else positions
        shape = (config.n_layers, positions, config.n_kv_heads, config.head_dim)
        return cls(np.zeros(shape, np.float32), np.zeros(shape, np.float32))


def rms_norm(x, weight, eps):
    """``x / sqrt(mean(x**2) + eps) * weight`` over the last axis, float32."""
    mean = np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
    return x / np.sqrt(mean + np.float32(eps)) * weight


def rope(x, positions, frequencies):
    """Rotate pair ``(2i, 2i + 1)`` of each head by ``position * frequencies[i]`` radians.

    ``x`` is float32[n, heads, head_dim], ``positions`` int[n], ``frequencies``
    float64[head_dim / 2]; angles are computed in float64.
    """
    angles = np.outer(positions, frequencies)[:, None, :]  # [n, 1, head_dim / 2]
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return rotated.reshape(x.shape)


def softmax(x):
    """``exp(x - max(x)) / sum(exp(x - max(x)))`` over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


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
        Receives each intermediate tensor as it is made. ``layer`` is None outside the layers.
        Names: ``residual`` (the embedding, then after each addition), ``attention_input`` (normed),
        ``q`` and ``k`` (rotated), ``v``, ``scores`` (scaled, the future at minus infinity),
        ``attention`` (before ``wo``), ``attention_output``, ``ffn_input`` (normed), ``gate``,
        ``up``, ``hidden``, ``ffn_output``, ``head_input`` (normed) and ``logits``.

    Raises
    ------
    ValueError
        If there is no token, one is out of range, or the positions exceed ``seq_len``.
    """
    c = model.config
    tokens = np.asarray(tokens)
    cache = Cache.empty(c, len(tokens)) if cache is None else cache
    start, end = cache.length, cache.length + len(tokens)
    _check(tokens, end, c)
    observe = observe or _ignore
    positions = np.arange(start, end)
    future = np.arange(end)[None, :] > positions[:, None]  # [n, end]
    group = c.n_heads // c.n_kv_heads
    n = len(tokens)

    x = model.embedding[tokens]  # [n, dim]
    observe("residual", None, x)
    for index, layer in enumerate(model.layers):
        # Attention
        h = rms_norm(x, layer.attention_norm, c.norm_eps)  # [n, dim]
        observe("attention_input", index, h)
        q = (h @ layer.wq.T).reshape(n, c.n_heads, c.head_dim)
        k = (h @ layer.wk.T).reshape(n, c.n_kv_heads, c.head_dim)
        v = (h @ layer.wv.T).reshape(n, c.n_kv_heads, c.head_dim)
        q = rope(q, positions, c.rope_frequencies)
        k = rope(k, positions, c.rope_frequencies)
        for name, array in (("q", q), ("k", k), ("v", v)):
            observe(name, index, array)
        cache.keys[index, start:end] = k
        cache.values[index, start:end] = v
        keys = cache.keys[index, :end].transpose(1, 2, 0)[:, None]  # [kv, 1, head_dim, end]
        values = cache.values[index, :end].transpose(1, 0, 2)[:, None]  # [kv, 1, end, head_dim]
        # Query head h reads key-value head h // group.
        q = q.transpose(1, 0, 2).reshape(c.n_kv_heads, group, n, c.head_dim)
        scores = q @ keys * np.float32(c.head_dim**-0.5)  # [kv, group, n, end]
        scores = np.where(future, np.float32(-np.inf), scores)
        observe("scores", index, scores.reshape(c.n_heads, n, end))
        attention = softmax(scores) @ values  # [kv, group, n, head_dim]
        attention = attention.reshape(c.n_heads, n, c.head_dim).transpose(1, 0, 2).reshape(n, -1)
        observe("attention", index, attention)  # [n, n_heads * head_dim]
        y = attention @ layer.wo.T  # [n, dim]
        observe("attention_output", index, y)
        x = x + y
        observe("residual", index, x)

        # SwiGLU
        h = rms_norm(x, layer.ffn_norm, c.norm_eps)  # [n, dim]
        observe("ffn_input", index, h)
        gate = h @ layer.w_gate.T  # [n, hidden_dim]
        up = h @ layer.w_up.T
        observe("gate", index, gate)
        observe("up", index, up)
        hidden = gate * _sigmoid(gate) * up
        observe("hidden", index, hidden)
        y = hidden @ layer.w_down.T  # [n, dim]
        observe("ffn_output", index, y)
        x = x + y
        observe("residual", index, x)

    cache.length = end
    x = rms_norm(x if all_logits else x[-1:], model.norm, c.norm_eps)
    observe("head_input", None, x)
    logits = x @ model.head.T  # [n or 1, vocab_size]
    observe("logits", None, logits)
    return logits


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


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _ignore(name, layer, array):
    pass


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
