"""A Llama-family model as every part of celosia sees it: one configuration, float32 arrays.

The checkpoint loaders translate foreign names and layouts into this form; nothing behind them knows
another. Rotary pairs are always interleaved, ``(0, 1), (2, 3), ...``, within a head.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Layer", "Model", "ModelConfig", "RopeScaling", "random_model"]


@dataclass(frozen=True)
class RopeScaling:
    """Llama-3's scaling of the rotary frequencies, for contexts longer than the trained one.

    With ``wavelength = 2 * pi / frequency``, a frequency is divided by ``factor`` where the
    wavelength exceeds ``original_seq_len / low_freq_factor``, kept where it is below
    ``original_seq_len / high_freq_factor``, and blended linearly in ``1 / wavelength`` between.

    Parameters
    ----------
    factor : float, at least 1
    low_freq_factor, high_freq_factor : float, ``0 < low_freq_factor < high_freq_factor``
    original_seq_len : int, at least 1

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_seq_len: int

    def __post_init__(self):
        if not (math.isfinite(self.factor) and self.factor >= 1):
            raise ValueError(f"factor must be at least 1, not {self.factor!r}")
        if not 0 < self.low_freq_factor < self.high_freq_factor < math.inf:
            raise ValueError(
                "low_freq_factor and high_freq_factor must be positive and in this order, not "
                f"{self.low_freq_factor!r} and {self.high_freq_factor!r}"
            )
        if self.original_seq_len < 1:
            raise ValueError(f"original_seq_len must be at least 1, not {self.original_seq_len!r}")

    def scale(self, frequencies):
        """The scaled frequencies, radians per position, for ``frequencies`` float64[n]."""
        turns = frequencies * self.original_seq_len / (2 * math.pi)
        span = self.high_freq_factor - self.low_freq_factor
        kept = np.clip((turns - self.low_freq_factor) / span, 0.0, 1.0)
        return frequencies * (kept + (1.0 - kept) / self.factor)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a Llama-family decoder.

    Parameters
    ----------
    dim, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, vocab_size, seq_len : int, at least 1
        ``head_dim`` is even and ``n_kv_heads`` divides ``n_heads``; ``n_heads * head_dim`` need not
        equal ``dim``.
    rope_theta : float, greater than 0
    rope_scaling : RopeScaling or None
    norm_eps : float, 0 or more
    tied : bool
        The output head is the embedding.
    rope_factors : tuple of head_dim / 2 floats greater than 0, or None
        Divisors of the rotary frequencies, pair by pair, where a checkpoint carries them.
    windows : tuple of int or None for each layer, or None
        The positions that a token sees in the layer, its own counted; None is all.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    seq_len: int
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    tied: bool = True
    rope_factors: tuple[float, ...] | None = None
    windows: tuple[int | None, ...] | None = None

    def __post_init__(self):
        for name in (
            *("dim", "hidden_dim", "n_layers", "n_heads"),
            *("n_kv_heads", "head_dim", "vocab_size", "seq_len"),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even, not {self.head_dim}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_kv_heads must divide n_heads ({self.n_heads}), which {self.n_kv_heads} does not"
            )
        if not 0 < self.rope_theta < math.inf:
            raise ValueError(f"rope_theta must be greater than 0, not {self.rope_theta!r}")
        if not 0 <= self.norm_eps < math.inf:
            raise ValueError(f"norm_eps must be 0 or more, not {self.norm_eps!r}")
        if self.rope_factors is not None:
            if len(self.rope_factors) != self.head_dim // 2:
                raise ValueError(
                    f"rope_factors must have {self.head_dim // 2} values, "
                    f"not {len(self.rope_factors)}"
                )
            if not all(0 < factor < math.inf for factor in self.rope_factors):
                raise ValueError("rope_factors must all be greater than 0")
        if self.windows is not None and len(self.windows) != self.n_layers:
            raise ValueError(
                f"windows must have {self.n_layers} values, one for each layer, "
                f"not {len(self.windows)}"
            )
        for window in self.windows or ():
            if window is not None and window < 1:
                raise ValueError(f"windows must be at least 1 or None, not {window!r}")

    def window(self, layer):
        """The positions that a token sees in ``layer``; None is all."""
        return self.windows[layer] if self.windows else None

    @property
    def rope_frequencies(self):
        """``rope_theta ** (-2 * i / head_dim)``, scaled: float64[head_dim / 2] in rad/position."""
        pair = np.arange(self.head_dim // 2, dtype=np.float64)
        frequencies = self.rope_theta ** (-2.0 * pair / self.head_dim)
        if self.rope_scaling is not None:
            frequencies = self.rope_scaling.scale(frequencies)
        if self.rope_factors is not None:
            frequencies = frequencies / np.array(self.rope_factors, dtype=np.float64)
        return frequencies

    @property
    def layer_shapes(self):
        """The shape of each tensor of a :class:`Layer`, by its name, in the order of its fields."""
        return {
            "attention_norm": (self.dim,),
            "wq": (self.n_heads * self.head_dim, self.dim),
            "wk": (self.n_kv_heads * self.head_dim, self.dim),
            "wv": (self.n_kv_heads * self.head_dim, self.dim),
            "wo": (self.dim, self.n_heads * self.head_dim),
            "ffn_norm": (self.dim,),
            "w_gate": (self.hidden_dim, self.dim),
            "w_up": (self.hidden_dim, self.dim),
            "w_down": (self.dim, self.hidden_dim),
        }


@dataclass
class Layer:
    """The weights of one decoder layer, float32, as ``[output, input]``."""

    attention_norm: np.ndarray  # [dim]
    wq: np.ndarray  # [n_heads * head_dim, dim]
    wk: np.ndarray  # [n_kv_heads * head_dim, dim]
    wv: np.ndarray  # [n_kv_heads * head_dim, dim]
    wo: np.ndarray  # [dim, n_heads * head_dim]
    ffn_norm: np.ndarray  # [dim]
    w_gate: np.ndarray  # [hidden_dim, dim]
    w_up: np.ndarray  # [hidden_dim, dim]
    w_down: np.ndarray  # [dim, hidden_dim]


@dataclass
class Model:
    """A decoder's configuration and weights, float32.

    When ``config.tied``, ``head`` is the same array object as ``embedding``.

    Raises
    ------
    ValueError
        If a tensor is missing, has another shape or type, or holds a value that is not finite;
        the message names the tensor.
    """

    config: ModelConfig
    embedding: np.ndarray  # [vocab_size, dim]
    layers: list[Layer]
    norm: np.ndarray  # [dim]
    head: np.ndarray  # [vocab_size, dim]
    tokenizer: Any = None  # reference.tokenizer.Tokenizer or None
    name: str = ""

    def __post_init__(self):
        config = self.config
        _check("embedding", self.embedding, (config.vocab_size, config.dim))
        if len(self.layers) != config.n_layers:
            raise ValueError(f"layers must number {config.n_layers}, not {len(self.layers)}")
        for index, layer in enumerate(self.layers):
            for name, shape in config.layer_shapes.items():
                _check(f"layers[{index}].{name}", getattr(layer, name), shape)
        _check("norm", self.norm, (config.dim,))
        if config.tied:
            if self.head is not self.embedding:
                raise ValueError("head must be the embedding itself in a tied model")
        else:
            _check("head", self.head, (config.vocab_size, config.dim))

    def shortened(self, layers):
        """The model of the first ``layers`` layers and the head.

        Raises
        ------
        ValueError
            If there are not so many.
        """
        if layers not in range(1, self.config.n_layers + 1):
            raise ValueError(
                f"layers must be from 1 to the model's {self.config.n_layers}, not {layers!r}"
            )
        config = replace(self.config, n_layers=layers)
        return replace(self, config=config, layers=self.layers[:layers])


def _check(name, array, shape):
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        kind = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"{name} must be a float32 array, not {kind}")
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {list(shape)}, not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a value that is not finite")


def random_model(config, seed=0):
    """A model of any shape with seeded weights, for tests: ``normal / sqrt(inputs)``, norms near 1.

    The embedding has unit variance, so that the activations keep a size near 1 throughout.
    """
    generator = np.random.default_rng(seed)

    def weights(shape, size):
        return (generator.standard_normal(shape) * size).astype(np.float32)

    def tensor(shape):
        if len(shape) == 1:
            return np.float32(1.0) + weights(shape, 0.1)
        return weights(shape, shape[1] ** -0.5)

    embedding = weights((config.vocab_size, config.dim), 1.0)
    layers = [
        Layer(**{name: tensor(shape) for name, shape in config.layer_shapes.items()})
        for _ in range(config.n_layers)
    ]
    norm = tensor((config.dim,))
    head = embedding if config.tied else tensor((config.vocab_size, config.dim))
    return Model(config, embedding, layers, norm, head, name=f"random{seed}")
