"""From a float Model to integers: formats by calibration, weights rounded, scales folded.

Everything that the integer machine multiplies by is fixed here. Activations are block floating
point (:mod:`celosia.reference.block_quantize`), queries and keys have a step per head and token
(:mod:`celosia.reference.head_quantize`); values a static scale per channel, folded into the rows
that make and use them. What the formats are, :mod:`celosia.reference.formats` chooses.
"""

import math

import numpy as np
from celosia.reference.calibration import calibrate
from celosia.reference.formats import (
    LOG2E,
    LOGIT_FRACTION,
    SCORE_FRACTION,
    check_model,
    excess,
    gate_fraction,
    least_epsilon,
    score_format,
)
from celosia.reference.linear import (
    Linear,
    ceil_log2,
    columns_of,
    head_rows,
    linear,
    mantissas,
    recoded,
    rounded,
    scaled,
)
from celosia.reference.quantized_model import QuantizedLayer, QuantizedModel
from celosia.reference.scale import LEAST_SHIFT, ROOM
from celosia.reference.scheme import Scheme

__all__ = [
    "ACTIVATION_WIDTH",
    "FEW",
    "LOG2E",
    "LOGIT_FRACTION",
    "SCORE_FRACTION",
    "Linear",
    "QuantizedLayer",
    "QuantizedModel",
    "Scheme",
    "quantize",
]

ACTIVATION_WIDTH = 23  # bits of a value before block quantisation: 8 and shifts of up to 15
RESIDUAL_FRACTION = 18  # the most
FEW = 80  # positions: a channel's largest value is not among as few; of 64 it is off by half


def quantize(model, scheme=None, calibration=None, margin=1.25):
    """Round ``model`` to a :class:`QuantizedModel`.

    ``margin`` is the room, as a factor, that static ranges leave above what calibration saw; values
    have more of it, the fewer positions that was.

    Raises
    ------
    ValueError
        If there are no formats that hold the model's values.
    """
    scheme = scheme or Scheme()
    check_model(model.config)
    return _Quantizer(model, scheme, calibration or calibrate(model), margin).model()


class _Quantizer:
    """The formats of the whole machine; then the layers; then what follows from all of them."""

    def __init__(self, source, scheme, calibration, margin):
        self.source, self.config, self.scheme, self.margin = source, source.config, scheme, margin
        self.seen, self.positions = calibration.largest, calibration.positions
        residual = scheme.residual_width - 2 - ceil_log2(margin * self.seen("residual"))
        self.residual = min(residual, RESIDUAL_FRACTION)
        layers = range(self.config.n_layers)
        scores = max(float(self.seen(("scores", n))) for n in layers)
        gates = max(float(self.seen(("gate", n)).max()) for n in layers)
        most = min(self._folds(n)[2] for n in layers)
        most -= 2 + ROOM + ceil_log2(self.config.head_dim)
        self.score_fraction, self.score_width = score_format(scores, margin, most)
        self.gate_fraction = gate_fraction(gates, margin)

    def model(self):
        """The quantised model."""
        c, scheme, source = self.config, self.scheme, self.source
        head_width = scheme.head_width or scheme.weight_width
        rows = rounded(source.embedding, head_width, scheme, columns_of(c.dim, scheme))
        self.residual -= max(0, LEAST_SHIFT - scaled(rows, 2.0**self.residual).shift)
        while True:
            layers = [self._layer(index) for index in range(c.n_layers)]
            missing = max(self._missing(index, layer) for index, layer in enumerate(layers))
            if not missing:
                break
            self.residual -= missing
        gain, shift, fraction = self._gain(source.norm, 2 * c.n_layers)
        output_rows = rows
        if not c.tied:
            output_rows = rounded(source.head, head_width, scheme, columns_of(c.dim, scheme))
        output_rows, head, logit_fraction = self._head(output_rows, self._after_norm(fraction))
        if c.tied:
            embedding = scaled(output_rows, 2.0**self.residual)
        else:
            embedding = scaled(recoded(rows, 2.0**self.residual), 2.0**self.residual)
        turns = c.rope_frequencies / (2 * np.pi) % 1.0
        return QuantizedModel(
            config=c,
            scheme=scheme,
            residual_fraction=self.residual,
            epsilon=self._epsilon(layers, head),
            rope_increments=np.round(turns * 2.0**32).astype(np.int64) & 0xFFFFFFFF,
            embedding=embedding,
            layers=layers,
            head_gain=gain,
            head_gain_shift=shift,
            head=head,
            score_fraction=self.score_fraction,
            score_width=self.score_width,
            gate_fraction=self.gate_fraction,
            logit_fraction=logit_fraction,
        )

    def _layer(self, index):
        layer = self.source.layers[index]
        norm_gain, norm_shift, norm_fraction = self._gain(layer.attention_norm, 2 * index)
        attention = self._attention(index, layer, self._after_norm(norm_fraction))
        ffn_gain, ffn_shift, ffn_fraction = self._gain(layer.ffn_norm, 2 * index + 1)
        hidden = self._hidden(index, layer, self._after_norm(ffn_fraction))
        return QuantizedLayer(
            norm_gain=norm_gain,
            norm_shift=norm_shift,
            ffn_gain=ffn_gain,
            ffn_shift=ffn_shift,
            **attention,
            **hidden,
        )

    def _attention(self, index, layer, normed):
        """The matrices around attention; ``normed`` belongs to the vector in front of them."""
        c, scheme, seen, margin = self.config, self.scheme, self.seen, self.margin
        hd, hdp, group = c.head_dim, scheme.padded(c.head_dim), c.n_heads // c.n_kv_heads
        columns = columns_of(c.dim, scheme)
        q_fold, k_fold, score_bits = self._folds(index)
        q_factor = np.repeat(np.repeat(q_fold * 2.0**score_bits, 2, axis=-1), group, axis=0)
        k_factor = np.repeat(k_fold, 2, axis=-1)
        v_step = seen(("v", index)) * (margin + FEW / self.positions) / 127  # [kv, hd]
        heads, kv_heads = (head_rows(n, hd, hdp) for n in (c.n_heads, c.n_kv_heads))
        factors = (q_factor * normed, k_factor * normed, normed / v_step)
        q, k, v = (
            linear(weight, factor.reshape(-1), scheme, columns, rows)
            for weight, factor, rows in zip(
                (layer.wq, layer.wk, layer.wv), factors, (heads, kv_heads, kv_heads), strict=True
            )
        )
        fraction = ACTIVATION_WIDTH - 2 - ceil_log2(margin * seen(("attention", index)))
        value_scale = np.zeros((c.n_kv_heads, hdp))
        value_scale[:, :hd] = v_step * 2.0**fraction
        value_scale, value_shift = mantissas(value_scale)
        score_shift = score_bits - self.score_fraction - 2
        if score_shift < LEAST_SHIFT:
            raise ValueError(f"layer {index}: queries and keys are too large for any score format")
        return {
            "q": q,
            "k": k,
            "v": v,
            "score_shift": score_shift,
            "value_scale": value_scale,
            "value_shift": value_shift,
            "o": linear(layer.wo, 2.0 ** (self.residual - fraction), scheme, heads, columns),
        }

    def _folds(self, index):
        """Factors of queries and keys, [kv, pairs], and a power of two for the queries.

        Rotated pairs are balanced between the two, so that both peak alike, and their product is
        the score in powers of two. Then each head of each token gets its own step.
        """
        c, seen, margin = self.config, self.seen, self.margin
        hd, group = c.head_dim, c.n_heads // c.n_kv_heads
        q_pair = seen(("q", index)).reshape(c.n_kv_heads, group, hd // 2, 2).max(axis=(1, 3))
        k_pair = seen(("k", index)).reshape(c.n_kv_heads, hd // 2, 2).max(axis=-1)
        balance = np.sqrt(k_pair / q_pair)
        k_fold = 2.0**14 / margin / (balance * (k_pair / balance).max(axis=-1, keepdims=True))
        q_fold = LOG2E * hd**-0.5 / k_fold
        return q_fold, k_fold, 14 - ceil_log2(margin * (q_pair * q_fold).max())

    def _hidden(self, index, layer, normed):
        """The matrices around the gates; ``normed`` belongs to the vector in front of them."""
        c, scheme, seen, margin = self.config, self.scheme, self.seen, self.margin
        columns = columns_of(c.dim, scheme)
        lanes, size = scheme.lanes, scheme.padded(c.hidden_dim)
        gate_rows = np.arange(c.hidden_dim) // lanes * 2 * lanes + np.arange(c.hidden_dim) % lanes
        rows = np.concatenate([gate_rows, gate_rows + lanes]), 2 * size
        weight = np.concatenate([layer.w_gate, layer.w_up])
        gate_up = rounded(weight, scheme.weight_width, scheme, columns, rows)
        # Where up's scales leave the gates' too few bits, they are smaller.
        up_fraction = 16 - ceil_log2(margin * seen(("up", index)))
        gates = margin * seen(("gate", index)) * 2.0**self.gate_fraction
        for _ in range(8):
            factors = [2.0**self.gate_fraction * normed, 2.0**up_fraction * normed]
            factors = np.repeat(factors, c.hidden_dim)
            op = scaled(recoded(gate_up, factors), factors)
            if not excess(op.scale[gate_rows], gates, normed=True):
                break
            up_fraction -= 1
        fraction = ACTIVATION_WIDTH - 2 - ceil_log2(margin * seen(("hidden", index)))
        fraction = min(fraction, self.gate_fraction + up_fraction - 1)
        hidden_columns = columns_of(c.hidden_dim, scheme)
        return {
            "gate_up": op,
            "swiglu_shift": self.gate_fraction + up_fraction - fraction,
            "down": linear(
                layer.w_down, 2.0 ** (self.residual - fraction), scheme, hidden_columns, columns
            ),
        }

    def _missing(self, index, layer):
        """Bits that the residual's binary point is too far right for the matrices that write it."""
        missing = [0]
        for name, op in (("attention_output", layer.o), ("ffn_output", layer.down)):
            outputs = self.margin * self.seen((name, index)) * 2.0**self.residual
            missing.append(excess(op.scale[: self.config.dim], outputs))
            missing.append(LEAST_SHIFT - op.shift)
        return max(missing)

    def _head(self, rows, normed):
        """The head's codes, the head, and the bits behind the point of its logits."""
        logits = self.margin * self.seen(("logits", None))
        fraction = LOGIT_FRACTION
        while fraction >= 0:
            codes = recoded(rows, normed * 2.0**fraction)
            head = scaled(codes, normed * 2.0**fraction)
            missing = excess(
                head.scale[: self.config.vocab_size], logits * 2.0**fraction, normed=True
            )
            if not missing:
                return codes, head, fraction
            fraction -= missing
        raise ValueError(f"logits reach {logits.max():,.0f}, which no format holds")

    def _epsilon(self, layers, head):
        shifts = {"the head": head.shift}
        for index, layer in enumerate(layers):
            for name in ("q", "k", "v", "gate_up"):
                shifts[f"layer {index}'s {name}"] = getattr(layer, name).shift
        return least_epsilon(self.config, self.residual, shifts, float(self.seen("inverse")))

    def _after_norm(self, fraction):
        """What a normed vector's integers are multiplied by to be real, but for its root."""
        return math.sqrt(self.config.dim) * 2.0 ** (self.residual - fraction)

    def _gain(self, gains, number):
        """int16 gains[padded dim], the shift behind the product, and the product's binary point."""
        mantissa_shift = 14 - ceil_log2(max(np.abs(gains).max(), 2.0**-100))
        places, size = columns_of(len(gains), self.scheme)
        mantissa = np.zeros(size, np.int64)
        mantissa[places] = np.round(gains.astype(np.float64) * 2.0**mantissa_shift)
        fraction = ACTIVATION_WIDTH - 3 - ceil_log2(self.seen(("norm", number)))
        fraction = min(fraction, self.residual + mantissa_shift - 1)
        return mantissa, self.residual + mantissa_shift - fraction, fraction
