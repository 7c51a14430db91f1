"""Calibration windows on their way through a model: what each matrix reads."""

import numpy as np
from celosia.reference.float32 import Cache, Pass
from celosia.reference.operations import Linear

__all__ = ["Inputs", "Windows"]


class Inputs:
    """What a matrix reads.

    Members
    -------
    hessian : float64[size, size]
        ``X.T @ X`` of all tokens.
    largest, mean : float64[size]
        Of the magnitudes.
    """

    def __init__(self, size):
        self.hessian = np.zeros((size, size))
        self.largest = np.zeros(size)
        self._sum, self._count = np.zeros(size), 0

    def see(self, x):
        """Take float32[n, size]."""
        x = x.astype(np.float64)
        self.hessian += x.T @ x
        magnitudes = np.abs(x)
        self.largest = np.maximum(self.largest, magnitudes.max(axis=0))
        self._sum += magnitudes.sum(axis=0)
        self._count += len(x)

    @property
    def mean(self):
        return self._sum / self._count

    def divided(self, factors):
        """Those of inputs that are divided by ``factors`` float64[size]."""
        other = Inputs(len(factors))
        other.hessian = self.hessian / factors / factors[:, None]
        other.largest, other._sum = self.largest / factors, self._sum / factors
        other._count = self._count
        return other


class Windows:
    """The residual streams of some windows of tokens, layer after layer.

    Parameters
    ----------
    model : Model
        Its layers' tensors may change on the way.
    windows : list of lists of int
    """

    def __init__(self, model, windows):
        caches = [Cache.empty(model.config, len(tokens)) for tokens in windows]
        pairs = zip(windows, caches, strict=True)
        self._passes = [Pass(model, np.asarray(tokens), cache, None) for tokens, cache in pairs]
        self.advance(model.description.begin, None)

    def advance(self, operations, layer):
        """Run ``operations``; only the residual stream stays."""
        for p in self._passes:
            p.run(operations, layer)
            p.vectors = {"x": p.vectors["x"]}

    def inputs(self, operations, layer):
        """What each Linear reads, by its weight; those of one input share theirs. Nothing moves."""
        found = {}
        for p in self._passes:
            stream, seen = p.read("x"), []
            for op in operations:
                if isinstance(op, Linear):
                    x = p.read(op.input)
                    same = [name for array, name in seen if array is x]
                    if same:
                        found[op.weight] = found[same[0]]
                    else:
                        found.setdefault(op.weight, Inputs(x.shape[1])).see(x)
                        seen.append((x, op.weight))
                    if op.out == "logits":  # which nothing asks for
                        break
                p.run([op], layer)
            p.vectors = {"x": stream}
        return found
