"""A small random model of a family: its config.json, its tensors, its tokens. NumPy only."""

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors.numpy import save_file

__all__ = ["POSITIONS", "Case", "Tensors"]

#: The length of every case's tokens.
POSITIONS = 40


class Tensors(dict):
    """Tensors by their Hugging Face name, with values from the raw bits of a seeded PCG64.

    NumPy promises these bits for ever, so that the values are the same in every version of it.
    """

    def __init__(self, seed):
        super().__init__()
        self._bits = np.random.PCG64(seed)

    def uniform(self, shape, size):
        """float32[shape], uniform, of mean 0 and standard deviation ``size``."""
        raw = self._bits.random_raw(math.prod(shape)).reshape(shape)
        unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
        return (unit * (size * math.sqrt(3))).astype(np.float32)

    def ternary(self, shape):
        """int8[shape] of -1, 0 and 1, each as often."""
        raw = self._bits.random_raw(math.prod(shape)).reshape(shape)
        return (raw >> np.uint64(32)).astype(np.int64).__mod__(3).astype(np.int8) - np.int8(1)

    def table(self, name, rows, width, size=1.0):
        self[name] = self.uniform((rows, width), size)

    def linear(self, name, outputs, inputs, bias=False, size=1.0):
        """``name.weight`` [outputs, inputs] of a gain near ``size``, and ``name.bias``."""
        self[f"{name}.weight"] = self.uniform((outputs, inputs), size * inputs**-0.5)
        if bias:
            self[f"{name}.bias"] = self.uniform((outputs,), 0.3)

    def norm(self, name, width, bias=False, mean=1.0, size=0.2):
        """``name.weight`` [width] near ``mean``, and ``name.bias``."""
        self[f"{name}.weight"] = np.float32(mean) + self.uniform((width,), size)
        if bias:
            self[f"{name}.bias"] = self.uniform((width,), 0.3)


@dataclass(frozen=True)
class Case:
    """One model.

    Parameters
    ----------
    name : str
        Of the case, and the seed of its values.
    family : str
    config : dict
        The content of config.json.
    layout : callable(Tensors, dict)
        Adds the tensors of the configuration, ``assumed | config``.
    assumed : dict
        What the family's class assumes where ``config`` is silent.
    """

    name: str
    family: str
    config: dict[str, Any]
    layout: Callable[[Tensors, dict], None]
    assumed: dict[str, Any] = field(default_factory=dict)

    @property
    def seed(self):
        return zlib.crc32(self.name.encode())

    @property
    def tokens(self):
        """int64[POSITIONS], each below the vocabulary's size."""
        fields = self.config.get("text_config", self.config)
        raw = np.random.PCG64(self.seed + 1).random_raw(POSITIONS) >> np.uint64(32)
        return (raw % np.uint64(fields["vocab_size"])).astype(np.int64)

    @property
    def tensors(self):
        """The arrays by name, made anew each time: float32, or uint8 if packed."""
        tensors = Tensors(self.seed)
        self.layout(tensors, self.assumed | self.config)
        return dict(tensors)

    def write(self, folder):
        """Write config.json and model.safetensors to ``folder``, which is made; its path."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        arrays = {name: np.ascontiguousarray(array) for name, array in self.tensors.items()}
        save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
