"""Where files keep a family's tensors, and what is done to these on the way.

A source has ``present(file, place, suffix)`` and ``read(file, place, suffix, shape)``: of the
module that it names behind ``place``, the tensor ``suffix`` (``weight`` or ``bias``) as one of
``shape``. A file has ``has(name)`` and ``take(name, shape)``, float32[shape].
"""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["ByHead", "First", "Names", "Part", "Slices", "Stack", "joined_qkv"]

#: What has the order of a head's values.
_ROTATED = ("wq", "wk", "wq_bias", "wk_bias", "q_norm", "k_norm", "q_norm_bias", "k_norm_bias")


@dataclass(frozen=True)
class Part:
    """A module's tensor, or of ``parts`` below each other (so many rows) the one at ``index``.

    ``transposed``: the file has matrices as [input, output].
    """

    name: str
    index: int = 0
    parts: tuple = ()
    transposed: bool = False

    def present(self, file, place, suffix):
        return file.has(f"{place}{self.name}.{suffix}")

    def read(self, file, place, suffix, shape):
        whole = (sum(self.parts) or shape[0], *shape[1:])
        if self.transposed:
            array = file.take(f"{place}{self.name}.{suffix}", whole[::-1]).T
        else:
            array = file.take(f"{place}{self.name}.{suffix}", whole)
        start = sum(self.parts[: self.index])
        return array[start : start + shape[0]]


def joined_qkv(c, name, transposed=False):
    """Queries, keys and values, below each other in one module."""
    sizes = tuple(n * c.head_dim for n in (c.n_heads, c.n_kv_heads, c.n_kv_heads))
    return {f"w{x}": Part(name, index, sizes, transposed) for index, x in enumerate("qkv")}


@dataclass(frozen=True)
class ByHead:
    """Of a module whose rows are, head by head, those of ``parts`` tensors: one of these."""

    name: str
    index: int
    parts: int
    head_dim: int

    def present(self, file, place, suffix):
        return file.has(f"{place}{self.name}.{suffix}")

    def read(self, file, place, suffix, shape):
        whole = (shape[0] * self.parts, *shape[1:])
        array = file.take(f"{place}{self.name}.{suffix}", whole)
        return array.reshape(-1, self.parts, self.head_dim, *shape[1:])[:, self.index].reshape(
            shape
        )


@dataclass(frozen=True)
class Stack:
    """The tensors of the modules ``name``, with ``{}`` for their number, as one."""

    name: str

    def present(self, file, place, suffix):
        return file.has(f"{place}{self.name.format(0)}.{suffix}")

    def read(self, file, place, suffix, shape):
        names = (f"{place}{self.name.format(index)}.{suffix}" for index in range(shape[0]))
        return np.stack([file.take(name, shape[1:]) for name in names])


@dataclass(frozen=True)
class Slices:
    """Of a tensor whose second axis is that of ``parts`` alike tensors: the one at ``index``."""

    name: str
    index: int = 0
    parts: int = 1

    def present(self, file, place, suffix):
        return file.has(place + self.name)

    def read(self, file, place, suffix, shape):
        n, rows = shape[:2]
        whole = file.take(place + self.name, (n, rows * self.parts, *shape[2:]))
        return whole[:, self.index * rows : (self.index + 1) * rows]


@dataclass(frozen=True)
class First:
    """The first of ``sources`` that the file has, or would have."""

    sources: tuple

    def present(self, file, place, suffix):
        return any(source.present(file, place, suffix) for source in self.sources)

    def read(self, file, place, suffix, shape):
        for source in self.sources:
            if source.present(file, place, suffix):
                return source.read(file, place, suffix, shape)
        return self.sources[0].read(file, place, suffix, shape)


@dataclass(frozen=True)
class Names:
    """Where a file has each tensor of a model.

    Parameters
    ----------
    own, layer : dict of str to str or source
        By the name of our weight, the module's name: of those outside of the layers, and of a
        layer's. A weight ``w`` has the bias ``w_bias``.
    prefix : str
        Of a layer's modules, with ``{}`` for its number.
    rotary : (int, int) or None
        ``head_dim``, and the values of a head whose rotary pairs are ``(i, i + values / 2)`` in the
        file; None where they are ``(2i, 2i + 1)`` as ours.
    one_plus : bool
        Norms have ``gain - 1``.
    aliases : tuple of (str, str)
        A pattern in names of the file's tensors, and what stands in the tables above instead.
    ignored : tuple of str
        Patterns of tensors that are not needed.
    """

    own: dict
    layer: dict
    prefix: str
    rotary: tuple | None = None
    one_plus: bool = False
    aliases: tuple = ()
    ignored: tuple = field(default=())

    def read(self, file, name, shape, layer=None):
        """Our tensor ``name`` of the layer, or of none: float32[shape]."""
        table, place = (self.own, "") if layer is None else (self.layer, self.prefix.format(layer))
        bias = name not in table
        source = table[name.removesuffix("_bias") if bias else name]
        source = Part(source) if isinstance(source, str) else source
        array = source.read(file, place, "bias" if bias else "weight", shape)
        if self.rotary and name in _ROTATED:
            array = _interleaved(array, *self.rotary)
        if self.one_plus and name.endswith("norm"):
            array = np.float32(1.0) + array
        return array


def _interleaved(rows, head_dim, rotary_dim):
    """Of each head's first ``rotary_dim`` rows, the halves' rows in turn."""
    heads = rows.reshape(-1, head_dim, *rows.shape[1:])
    order = np.arange(head_dim)
    order[:rotary_dim] = order[:rotary_dim].reshape(2, -1).T.ravel()
    return heads[:, order].reshape(rows.shape)
