"""Calibration: what values the float model takes, from which formats follow."""

import numpy as np
from celosia.reference import float32

__all__ = ["Calibration", "calibrate"]


class Calibration:
    """The largest magnitudes seen while the float model runs: the observer of ``float32.forward``.

    Magnitudes are rounded up to an eighth of an octave, so that the last bits of a platform's
    float arithmetic do not show in the integer model.

    Members
    -------
    positions : int
        How many have been seen.
    """

    def __init__(self):
        self._largest = {}
        self.positions = 0

    def __call__(self, name, layer, array):
        """Observe one array [n, ...]: of each place the largest magnitude of all positions."""
        if name == "logits":
            self.positions += len(array)
        if name == "scores":
            array = np.where(np.isneginf(array), np.float32(0), array).max(axis=-1, keepdims=True)
        self._see((name, layer), np.abs(array).max(axis=0))

    def _see(self, key, value):
        if not np.isfinite(value).all():
            name, layer = key
            place = "" if layer is None else f" of layer {layer}"
            raise ValueError(f"{name!r}{place} is not finite when the model runs in float32")
        self._largest[key] = np.maximum(self._largest.get(key, 0.0), value)

    def largest(self, name, layer=None):
        """The largest magnitudes of each place, at least 1e-6, rounded up to 2**(1/8) steps."""
        x = np.maximum(np.asarray(self._largest[name, layer], np.float64), 1e-6)
        return 2.0 ** (np.ceil(8 * np.log2(x)) / 8)

    def residual(self):
        """The largest magnitude of the residual stream, anywhere."""
        return max(self.largest(n, layer).max() for n, layer in self._largest if n == "x")


def calibrate(model, tokens=None):
    """Run the float model over ``tokens``, by default a sample of its own writing from BOS.

    The sample has 256 tokens, 64 where the model has more than 16 million parameters.

    Raises
    ------
    ValueError
        If the float model comes to a value that is not finite.
    """
    observer = Calibration()
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
