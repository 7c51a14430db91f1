"""From a float Model to the compact machine's integers: weights of 4 bits, keys and values of 8."""

import math
from dataclasses import dataclass

import numpy as np
from celosia.reference.compact.arithmetic import (
    DOWN_SHIFT,
    EXTRA,
    GATE_FRACTION,
    HALF,
    SIGMOID_FRACTION,
    WIDE,
    CompactLayer,
    CompactLinear,
    CompactModel,
)
from celosia.reference.compact.tables import scale_values
from celosia.reference.operations import Attention, Gate, Linear, Norm, Rotate
from celosia.reference.operations.attention import FEW
from celosia.reference.quantization.calibration import calibrate
from celosia.reference.quantization.formats import LOG2E, LOGIT_FRACTION, check_model

__all__ = ["CompactScheme", "quantize_compact"]

LARGEST = 127
HIDDEN_WIDTH = 15


@dataclass(frozen=True)
class CompactScheme:
    """The compact machine's integer model, whose attention sees ``window`` positions."""

    window: int
    lanes = 4
    weight_width = 4

    def quantize(self, model, calibration=None):
        """The integer model: see :func:`quantize_compact`."""
        return quantize_compact(model, self.window, calibration)


def quantize_compact(model, window, calibration=None, margin=1.25):
    """Round ``model`` to a :class:`CompactModel` whose attention sees ``window`` positions.

    ``margin`` is the room that static ranges leave above what calibration saw.

    Raises
    ------
    ValueError
        If ``window`` is out of range, or the model's numbers are.
    """
    if window not in range(4, 257, 4):
        raise ValueError(f"window must be a multiple of 4 from 4 to 256, not {window!r}")
    check_model(model)
    _check_operations(model.description)
    return _Quantizer(model, window, calibration or calibrate(model), margin).model()


def _check_operations(description):
    """Raise ``ValueError`` for what the compact machine does not compute."""
    attention = Norm, Linear, Linear, Linear, Rotate, Rotate, Attention, Linear
    kinds = [*attention, Norm, Linear, Linear, Gate, Linear]
    operations = (*description.begin, *description.end)
    for layer in description.layers:
        if [type(op) for op in layer] != kinds:
            names = " ".join(type(op).__name__.lower() for op in layer)
            raise ValueError(f"the compact machine has no layers of {names}")
        operations += layer
    plain = {"bias": None, "centred": False, "groups": 1, "factor": 1.0, "positions": None}
    plain |= {"window": None, "cap": None, "activation": "silu"}
    for op in operations:
        for name, value in plain.items():
            found = getattr(op, name, value)
            if found != value:
                kind = type(op).__name__.lower()
                raise ValueError(f"the compact machine has no {name} ({found!r}) of a {kind}")
        if isinstance(op, Attention) and op.scale != op.head_dim**-0.5:
            raise ValueError(f"the compact machine has no score factor {op.scale:g}")


class _Quantizer:
    """The static formats, found from the calibration; then the matrices."""

    def __init__(self, model, window, calibration, margin):
        self.source, self.config, self.window = model, model.config, window
        self.seen, self.positions = calibration.largest, calibration.positions
        self.residual_seen = calibration.residual()
        self.margin = margin
        dim = self.config.dim
        self.root = math.sqrt(dim)
        square = max(0, 30 + math.ceil(math.log2(dim)) - 23)
        self.square_shift = square + square % 2
        self.score_bits = min(self._score_bits(index) for index in range(self.config.n_layers))
        self.fold = min(self._fold(index) for index in range(self.config.n_layers))
        self.residual = self._residual()
        gates = [self.seen("gate", index).max() for index in range(self.config.n_layers)]
        self.gate_fraction = self._fraction(
            "gates", max(gates), HALF, GATE_FRACTION, SIGMOID_FRACTION
        )
        logits = self.seen("logits", None).max()
        self.logit_fraction = self._fraction("logits", logits, WIDE, LOGIT_FRACTION, 0)

    def _fraction(self, name, largest, width, most, least):
        """Bits behind the point, from ``least`` to ``most``, of values up to ``largest``."""
        fraction = min(most, width - 1 - math.ceil(math.log2(self.margin * largest)))
        if fraction < least:
            raise ValueError(f"{name} reach {largest:,.0f}, which no format holds")
        return fraction

    def model(self):
        c, source = self.config, self.source
        angles = c.rope_frequencies
        rotation = np.round(np.stack([np.cos(angles), np.sin(angles)], axis=-1) * 32768)
        step = 2.0 ** math.ceil(math.log2(self._step(("norm output", None))))
        fold = math.floor(
            math.log2(LARGEST * step / (np.abs(source.tensors["norm"]).max() * self.root))
        )
        head = self._head(source.tensors["embedding" if c.tied else "head"], step)
        embedding, factor = head, round(math.log2(step * 2.0**self.logit_fraction))
        if not c.tied:
            embedding, factor = fit(source.tensors["embedding"], 1.0), 0
        return CompactModel(
            config=c,
            description=source.description,
            window=self.window,
            embedding_shift=_checked(
                "embedding_shift", 12 + embedding.shift + factor - self.residual
            ),
            square_shift=self.square_shift,
            norm_shift=_checked("norm_shift", self._norm_shift(self.fold)),
            head_norm_shift=_checked("head_norm_shift", self._norm_shift(fold)),
            score_shift=_checked("score_shift", 4 + self.score_bits),
            gate_fraction=self.gate_fraction,
            logit_fraction=self.logit_fraction,
            rotation=np.minimum(rotation.astype(np.int64), 32767),
            layers=[self._layer(index) for index in range(c.n_layers)],
            head_gain=self._gain(source.tensors["norm"], step, fold),
            head=_limited("head", head),
            embedding=embedding,
        )

    def _head(self, weight, step):
        """The head; its logits get fewer bits behind the point where its scales need that."""
        head = fit(weight, step * 2.0**self.logit_fraction)
        if head.shift >= 0:
            return head
        self.logit_fraction += head.shift
        if self.logit_fraction < 0:
            largest = self.seen("logits", None).max()
            raise ValueError(f"logits reach {largest:,.0f}, which no format holds")
        return fit(weight, step * 2.0**self.logit_fraction)

    def _layer(self, index):
        c, layer, seen = self.config, self.source.layers[index], self.seen
        group = c.n_heads // c.n_kv_heads
        step = self._step(("attention_norm output", index))
        q_fold, k_fold = self._folds(index)
        q_fold = np.repeat(np.repeat(q_fold * 2.0**self.score_bits, 2, axis=-1), group, axis=0)
        k_fold = np.repeat(k_fold, 2, axis=-1)
        v_step = seen("values", index) * (self.margin + FEW / self.positions) / LARGEST  # [kv, hd]
        ffn_step = self._step(("ffn_norm output", index))
        up, hidden = self._hidden(index)
        linears = {
            "q": fit(layer["wq"], q_fold.reshape(-1) * step * 2**EXTRA),
            "k": fit(layer["wk"], k_fold.reshape(-1) * step * 2**EXTRA),
            "v": fit(layer["wv"], (step / v_step).reshape(-1)),
            "o": fit(self._attention_columns(layer["wo"], v_step), 2.0**self.residual),
            "gate": fit(layer["w_gate"], 2.0**self.gate_fraction * ffn_step),
            "up": fit(layer["w_up"], up * ffn_step),
            "down": fit(layer["w_down"], 2.0**self.residual / hidden, DOWN_SHIFT),
        }
        return CompactLayer(
            norm_gain=self._gain(layer["attention_norm"], step, self.fold),
            ffn_gain=self._gain(layer["ffn_norm"], ffn_step, self.fold),
            **{name: _limited(name, op) for name, op in linears.items()},
        )

    def _attention_columns(self, wo, v_step):
        group = self.config.n_heads // self.config.n_kv_heads
        return wo * np.repeat(v_step[:, None], group, axis=1).reshape(-1)

    def _hidden(self, index):
        """What ups and hidden values are multiplied by to be integers."""
        up = HALF - 1 - math.ceil(math.log2(self.margin * self.seen("up", index).max()))
        hidden = HIDDEN_WIDTH - math.ceil(math.log2(self.margin * self.seen("hidden", index).max()))
        up = min(up, hidden)  # hidden = gate's fraction + up - hidden_shift
        return 2.0**up, 2.0**up

    def _folds(self, index):
        """Factors of queries [kv, pairs], but for ``2**score_bits``, and of keys."""
        c = self.config
        k_pair = self.seen("keys", index).reshape(c.n_kv_heads, -1, 2).max(axis=-1)
        k_fold = LARGEST / (self.margin * k_pair)
        k_fold = np.minimum(k_fold, 8 * k_fold.min(axis=-1, keepdims=True))
        return c.head_dim**-0.5 * LOG2E * 32 / k_fold, k_fold

    def _score_bits(self, index):
        c = self.config
        q_pair = self.seen("queries", index).reshape(c.n_kv_heads, -1, c.head_dim // 2, 2)
        largest = (q_pair.max(axis=(1, 3)) * self._folds(index)[0]).max()
        return math.floor(math.log2(LARGEST / (self.margin * largest)))

    def _step(self, key):
        """The step of a normed vector's 8 bits."""
        return self.margin * float(self.seen(*key).max()) / LARGEST

    def _fold(self, index):
        """The exponent with which every gain of the layer's norms has 8 bits."""
        layer = self.source.layers[index]
        return min(
            math.floor(math.log2(LARGEST * self._step(key) / (np.abs(gain).max() * self.root)))
            for key, gain in (
                (("attention_norm output", index), layer["attention_norm"]),
                (("ffn_norm output", index), layer["ffn_norm"]),
            )
        )

    def _gain(self, gains, step, fold):
        codes = np.round(gains.astype(np.float64) * (self.root * 2.0**fold / step))
        return np.clip(codes, -128, LARGEST).astype(np.int8)

    def _norm_shift(self, fold):
        return fold + 15 + self.square_shift // 2

    def _residual(self):
        """The residual stream's binary point: as far left as range and shifts allow."""
        shifts = []
        for index, layer in enumerate(self.source.layers):
            v_step = self.seen("values", index) * (self.margin + FEW / self.positions) / LARGEST
            shifts.append(fit(self._attention_columns(layer["wo"], v_step), 1.0).shift)
            shifts.append(fit(layer["w_down"], 1 / self._hidden(index)[1]).shift - DOWN_SHIFT)
        room = 22 - math.ceil(math.log2(self.margin * self.residual_seen))
        return min(room, *shifts)


def fit(weight, factor, base=0):
    """4-bit codes and a scale for each row of ``weight`` times ``factor``, a number or rows'.

    Of the 16 scales each row takes the one with the least squared error.
    """
    wanted = weight.astype(np.float64) * np.reshape(factor, (-1, 1))
    values = scale_values()
    largest = max(np.abs(wanted).max() / 7, 1e-30)
    shift = math.floor(math.log2(values[-1] / largest))
    best = np.full(len(wanted), np.inf)
    codes, scale = np.zeros(wanted.shape, np.int8), np.zeros(len(wanted), np.int64)
    for code, value in enumerate(values * 2.0**-shift):
        rounded = np.clip(np.round(wanted / value), -8, 7)
        error = ((rounded * value - wanted) ** 2).sum(axis=1)
        better = error < best
        best = np.where(better, error, best)
        codes[better], scale[better] = rounded[better], code
    return CompactLinear(codes, scale, shift - base)


def _limited(name, op):
    """``op``, if its shift has 4 bits."""
    _checked(f"{name}'s shift", op.shift, 16)
    return op


def _checked(name, value, limit=32):
    if value not in range(limit):
        raise ValueError(f"{name} must be from 0 to {limit - 1}, not {value}")
    return value
