"""The codes that the compact machine gives a model's matrices, for training them in that form."""

from dataclasses import replace

import numpy as np

from celosia.reference.compact.matrix import fit, fit_ternary
from celosia.reference.compact.quantize import CompactQuantizer
from celosia.reference.compact.tables import scale_values
from celosia.reference.operations import Attention, Linear
from celosia.reference.quantization.calibration import calibrate
from celosia.reference.quantization.coded import Coded
from celosia.training.rounding import Rounding, ternary_rows

__all__ = ["CompactRounding", "equal_values"]

MARGIN = 1.25  # the room that the machine's static ranges leave


class CompactRounding(Rounding):
    """The codes of the compact machine, and for each row one of its 16 scales.

    These are quarters of an octave apart, and so are the steps of what a matrix reads and makes:
    one that was rounded so has the same codes in the machine. Values' steps, by which the machine
    multiplies columns, are taken to be equal: see :func:`equal_values`.

    Parameters
    ----------
    model : Model
        Float, in the machine's form (:func:`celosia.reference.compact.form.compact_form`), without
        biases; its head is the embedding.
    window : int
        Positions that the machine's attention sees.
    weight_width : int
        Bits of codes, 4 or 8; with ``ternary`` those of the table alone.
    ternary : bool
        The layers' matrices are ternary: :func:`celosia.training.rounding.ternary_rows`.
    """

    def __init__(self, model, window, weight_width=4, ternary=False):
        self.width, self.ternary = weight_width, ternary
        quantizer = _Noting(model, window, calibrate(model), MARGIN, weight_width, ternary)
        quantizer.model()
        self._factors = self.vectors = quantizer.noted  # by the same keys

    def coded(self, key, weight):
        """The :class:`Coded` of ``weight`` float32[rows, columns], ``key`` its (layer, name)."""
        layer, name = key
        factor = self._factors[key]
        if self.ternary and layer is not None:
            matrix = fit_ternary(ternary_rows(weight).float32(), factor)
        else:
            matrix = fit(weight, factor, width=self.width)
        scale = scale_values()[matrix.scale] * 2.0**-matrix.shift / factor
        place = name if layer is None else f"layers.{layer}.{name}"
        groups = np.zeros(weight.shape[1], np.int64)
        return Coded(matrix.codes, groups, scale[:, None].astype(np.float32), None, place)


class _Noting(CompactQuantizer):
    """Notes what each matrix is multiplied by before it becomes codes, by layer and name."""

    def __init__(self, *arguments):
        self.noted = {}
        super().__init__(*arguments)

    def _fit(self, op, weight, unit, base):
        step = self.steps.get(op.out)
        rows = op.factor * (self.wants[op.out] if step is None else 1 / step)
        self.noted[self.layer, op.weight] = rows * np.exp(np.mean(np.log(self.units[op.input])))
        return super()._fit(op, weight, unit, base)

    def _ternary(self, op, weight, factor, base):
        return super()._ternary(op, ternary_rows(weight).float32(), factor, base)


def equal_values(model, texts):
    """``model`` with values of the same largest magnitude in every channel of a layer.

    What the rows of values are multiplied by, the columns that read them are divided by. That
    magnitude, a mean over ``texts`` (lists of tokens), is in the middle of an octave.
    """
    seen = [calibrate(model, tokens) for tokens in texts]
    layers = [dict(tensors) for tensors in model.layers]
    for index, operations in enumerate(model.description.layers):
        makers = {op.out: op for op in operations if isinstance(op, Linear)}
        readers = {op.input: op for op in operations if isinstance(op, Linear)}
        for op in (op for op in operations if isinstance(op, Attention)):
            # A calibration rounds up to an eighth of an octave.
            octaves = np.mean([np.log2(each.largest("values", index)) for each in seen], 0) - 1 / 16
            wanted = np.ceil(octaves.mean()) - 0.5
            factor = 2.0 ** (wanted - octaves)  # [kv, hd]
            rows, columns = factor.reshape(-1, 1), np.repeat(factor, op.group, axis=0).reshape(-1)
            for name, by in ((makers[op.v].weight, rows), (readers[op.out].weight, 1 / columns)):
                layers[index][name] = (layers[index][name] * by).astype(np.float32)
    return replace(model, layers=layers)
