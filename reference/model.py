"""A decoder as every part of celosia sees it: sizes, a description, float32 tensors.

The checkpoint loaders translate foreign names and layouts into this form; nothing behind them knows
another. Rotary pairs are always interleaved, ``(0, 1), (2, 3), ...``, within a head.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from celosia.reference.families import describe
from celosia.reference.units.rope_scaling import RopeScaling

__all__ = ["Model", "ModelConfig", "RopeScaling", "random_model"]


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of a decoder, and the name of the family that describes it.

    Parameters
    ----------
    dim, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim, vocab_size, seq_len : int, at least 1
        ``head_dim`` is even, unless the option ``learned_positions`` says that nothing is rotated;
        ``n_kv_heads`` divides ``n_heads``; ``n_heads * head_dim`` need not equal ``dim``.
    rope_theta : float, greater than 0
    rope_scaling : RopeScaling or another of :mod:`celosia.reference.units.rope_scaling`, or None
    norm_eps : float, 0 or more
    tied : bool
        The output head is the embedding.
    rope_factors : tuple of head_dim / 2 floats greater than 0, or None
        Divisors of the rotary frequencies, pair by pair, where a checkpoint carries them.
    family : str
        A name in :data:`celosia.reference.families.FAMILIES`.
    options : dict
        What the family's description needs beyond that; see the family. ``ternary``: the layers'
        matrices have only -s, 0 and s in a row.

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
    family: str = "llama"
    options: dict = field(default_factory=dict)

    def __post_init__(self):
        for name in (
            *("dim", "hidden_dim", "n_layers", "n_heads"),
            *("n_kv_heads", "head_dim", "vocab_size", "seq_len"),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if self.head_dim % 2 and not self.options.get("learned_positions"):
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

    @property
    def rope_frequencies(self):
        """``rope_theta ** (-2 * i / head_dim)``, scaled: float64[head_dim / 2] in rad/position."""
        return self.frequencies()

    def frequencies(self, theta=None, rotary_dim=None, scaled=True):
        """Radians per position of each pair of a head: float64[head_dim / 2].

        Only the first ``rotary_dim`` values of a head are turned, by default all of them. ``theta``
        is ``rope_theta`` by default; ``scaled`` applies ``rope_scaling`` and ``rope_factors``.
        """
        rotary_dim = self.head_dim if rotary_dim is None else rotary_dim
        pair = np.arange(rotary_dim // 2, dtype=np.float64)
        with np.errstate(all="ignore"):  # who needs them finite checks that
            frequencies = (theta or self.rope_theta) ** (-2.0 * pair / rotary_dim)
        if scaled and self.rope_scaling is not None:
            frequencies = self.rope_scaling.scale(frequencies, self.rope_theta)
        frequencies = np.pad(frequencies, (0, (self.head_dim - rotary_dim) // 2))
        if scaled and self.rope_factors is not None:
            frequencies = frequencies / np.array(self.rope_factors, dtype=np.float64)
        return frequencies


@dataclass
class Model:
    """A decoder's sizes and weights, float32.

    Parameters
    ----------
    config : ModelConfig
    tensors : dict of str to float32 array
        Those outside of the layers, as ``description.shapes`` names them. A tied head is the
        embedding: there is none of its own.
    layers : list of dict of str to float32 array
        Each layer's, as ``description.layer_shapes`` names them; matrices as ``[output, input]``.
    tokenizer : celosia.reference.tokenizer.Tokenizer, optional
    name : str
    description : Description, optional
        By default what the config's family says.
    codes : dict of (int or None, str) to Coded, optional
        Of matrices that were rounded before, by layer and name: the codes that the machine keeps.
    settings : dict of str to int or str, optional
        The parameters of a machine that holds the codes.

    Raises
    ------
    ValueError
        If a tensor is missing or one too many, has another shape or type, or holds a value that is
        not finite; the message names the tensor.
    """

    config: ModelConfig
    tensors: dict
    layers: list
    tokenizer: Any = None
    name: str = ""
    description: Any = None
    codes: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)

    def __post_init__(self):
        config = self.config
        if self.description is None:
            self.description = describe(config)
        if len(self.layers) != config.n_layers:
            raise ValueError(f"layers must number {config.n_layers}, not {len(self.layers)}")
        _check_all("", self.tensors, self.description.shapes)
        for index, layer in enumerate(self.layers):
            _check_all(f"layers.{index}.", layer, self.description.layer_shapes(index))

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
        description = replace(self.description, layers=self.description.layers[:layers])
        config = replace(self.config, n_layers=layers)
        codes = {key: each for key, each in self.codes.items() if key[0] in (None, *range(layers))}
        parts = {"layers": self.layers[:layers], "description": description, "codes": codes}
        return replace(self, config=config, **parts)


def _check_all(prefix, tensors, shapes):
    for name, shape in shapes.items():
        if name not in tensors:
            raise ValueError(f"{prefix}{name} is missing")
        _check(f"{prefix}{name}", tensors[name], shape)
    for name in tensors:
        if name not in shapes:
            raise ValueError(f"{prefix}{name} is a tensor that the model does not have")


def _check(name, array, shape):
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        kind = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"{name} must be a float32 array, not {kind}")
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {list(shape)}, not {list(array.shape)}")
    if not np.isfinite(array.min()) or not np.isfinite(array.max()):  # nan passes through both
        raise ValueError(f"{name} holds a value that is not finite")


def random_model(config, seed=0):
    """A model of any shape with seeded weights, for tests: ``normal / sqrt(inputs)``, norms near 1.

    The embedding has unit variance, so that the activations keep a size near 1 throughout; biases
    are small.
    """
    generator = np.random.default_rng(seed)
    description = describe(config)

    def tensor(name, shape):
        values = generator.standard_normal(shape)
        if len(shape) > 1:
            size = 1.0 if name in TABLES else shape[-1] ** -0.5
            return (values * size).astype(np.float32)
        if name == "bounds":  # shares
            return (1 / (1 + np.exp(-values))).astype(np.float32)
        if name.endswith("norm"):
            return np.float32(1.0) + (values * 0.1).astype(np.float32)
        return (values * 0.1).astype(np.float32)

    shapes = description.shapes
    tensors = {name: tensor(name, shapes.pop(name)) for name in TABLES if name in shapes}
    layers = [
        {name: tensor(name, shape) for name, shape in description.layer_shapes(index).items()}
        for index in range(config.n_layers)
    ]
    tensors |= {name: tensor(name, shape) for name, shape in shapes.items()}
    return Model(config, tensors, layers, name=f"random{seed}")


TABLES = ("embedding", "positions")
