"""Calibration: the largest magnitudes of a float model's tensors, from which formats follow."""

import numpy as np
from celosia.reference import float32

__all__ = ["Calibration", "calibrate"]


NORMED = ("attention_input", "ffn_input", "head_input")


class Calibration:
    """The largest magnitudes seen while the float model runs: the observer of ``float32.forward``.

    Magnitudes are rounded up to an eighth of an octave, so that the last bits of a platform's
    float arithmetic do not show in the integer model.
    """

    def __init__(self, model):
        self._gains = [g for layer in model.layers for g in (layer.attention_norm, layer.ffn_norm)]
        self._gains.append(model.norm)
        self._largest = {}
        self._residuals = 0
        self.positions = 0

    def __call__(self, name, layer, array):
        """Observe one tensor; ``residual``s arrive in order and feed the norm that follows."""
        if name == "residual":
            self._see("residual", np.abs(array).max())
            which = self._residuals % len(self._gains)
            self.positions += len(array) * (which == 0)
            self._see(("norm", which), np.abs(array * self._gains[which]).max())
            self._residuals += 1
        elif name in ("q", "k", "v"):
            self._see((name, layer), np.abs(array).max(axis=0))  # [heads, head_dim]
        elif name in ("attention", "up", "hidden", *NORMED):
            self._see((name, layer), np.abs(array).max())

    def _see(self, key, value):
        if not np.isfinite(value).all():
            name, *where = key if isinstance(key, tuple) else (key,)
            place = f" {where[0]}" if where and where[0] is not None else ""
            raise ValueError(f"{name}{place} is not finite when the model runs in float32")
        self._largest[key] = np.maximum(self._largest.get(key, 0.0), value)

    def largest(self, key):
        """The largest magnitude of ``key``, at least 1e-6, rounded up to 2**(1/8) steps."""
        x = np.maximum(np.asarray(self._largest[key], np.float64), 1e-6)
        return 2.0 ** (np.ceil(8 * np.log2(x)) / 8)


def calibrate(model, tokens=None):
    """Run the float model over ``tokens``, by default a sample of its own writing from BOS.

    The sample has 256 tokens, 64 where the model has more than 16 million parameters.

    Raises
    ------
    ValueError
        If the float model comes to a value that is not finite.
    """
    observer = Calibration(model)
    c = model.config
    with np.errstate(all="ignore"):  # the observer tells
        if tokens is None:
            bos = getattr(model.tokenizer, "bos", None)
            bos = 1 % c.vocab_size if bos is None else bos
            large = c.dim * (c.vocab_size + c.n_layers * (3 * c.hidden_dim + 2 * c.dim)) > 1 << 24
            count = min(64 if large else 256, c.seq_len) - 1
            tokens = [bos]
            if count > 0:
                tokens += float32.generate(model, [bos], count, temperature=1.0, seed=0)
        for start in range(0, len(tokens), c.seq_len):
            float32.forward(model, tokens[start : start + c.seq_len], observe=observer)
    return observer
