"""Calibration: what values the float model takes, from which formats follow."""

import numpy as np
from celosia.reference import float32

__all__ = ["Calibration", "calibrate"]

COUNTED = 11.0  # what a score is below the largest by that its weight is 2**-15 of that one's
SURE, UNSURE = 60, 15  # how far a model's largest logit lies above the mean


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
        self._largest, self._keys = {}, {}
        self.positions = 0

    def __call__(self, name, layer, array):
        """Observe one array [n, ...]: of each place the largest magnitude of all positions."""
        if name == "scores":
            # What a query's largest score and those that count beside it need on either side of 0.
            largest = array.max(axis=-1)
            self._see((name, layer), np.maximum(largest, COUNTED - largest).max())
            return
        if name == "x":
            self.positions += len(array) if layer is None else 0
            squares = np.mean(np.square(array, dtype=np.float64), axis=-1)
            self._see(("inverse", None), 1 / squares.min(initial=np.inf, where=squares > 0))
        if name == "keys":
            least, most, sums = self._keys.get(layer, (np.inf, -np.inf, 0.0))
            least, most = np.minimum(least, array.min(axis=0)), np.maximum(most, array.max(axis=0))
            self._keys[layer] = least, most, sums + array.sum(axis=0, dtype=np.float64)
        self._see((name, layer), np.abs(array).max(axis=0))

    def _see(self, key, value):
        if not np.isfinite(value).all():
            name, layer = key
            place = "" if layer is None else f" of layer {layer}"
            raise ValueError(f"{name!r}{place} is not finite when the model runs in float32")
        self._largest[key] = np.maximum(self._largest.get(key, 0.0), value)

    def largest(self, name, layer=None):
        """The largest magnitudes of each place, at least 1e-6, rounded up to 2**(1/8) steps."""
        return _rounded_up(np.asarray(self._largest[name, layer], np.float64))

    def key_mean(self, layer):
        """The mean of a layer's rotated keys, float64[n_kv_heads, head_dim]."""
        return self._keys[layer][2] / self.positions

    def centred_keys(self, layer):
        """The largest magnitudes of the rotated keys without their mean, float64 likewise."""
        (least, most, _), mean = self._keys[layer], self.key_mean(layer)
        return _rounded_up(np.maximum(most - mean, mean - least))

    def residual(self):
        """The largest magnitude of the residual stream, anywhere."""
        return max(self.largest(n, layer).max() for n, layer in self._largest if n == "x")


def _rounded_up(x):
    """``x``, at least 1e-6, rounded up to 2**(1/8) steps."""
    return 2.0 ** (np.ceil(8 * np.log2(np.maximum(x, 1e-6))) / 8)


def calibrate(model, tokens=None):
    """Run the float model over ``tokens``, by default a sample of its own writing from BOS.

    The sample has 256 tokens, 64 where the model has more than 16 million parameters. A model that
    is surer of its first token than trained ones are writes at a temperature that makes it unsure,
    so that the sample is not of one word.

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
                temperature = _temperature(float32.forward(model, [bos])[0])
                tokens += float32.generate(model, [bos], count, temperature, seed=0)
        for start in range(0, len(tokens), c.seq_len):
            float32.forward(model, tokens[start : start + c.seq_len], observe=observer)
    return observer


def _temperature(logits):
    """1, or more where the largest of ``logits`` is above their mean by more than ``SURE``."""
    above = float(logits.max() - logits.mean(dtype=np.float64))
    return above / UNSURE if SURE < above < np.inf else 1.0
