"""From a float Model to integers: formats by calibration, weights rounded, scales folded.

Everything that the integer machine multiplies by is fixed here. Activations are block floating
point (:mod:`celosia.reference.block_quantize`), queries and keys have a step per head and token
(:mod:`celosia.reference.head_quantize`); values a static scale per channel, folded into the rows
that make and use them.
"""

import math

import numpy as np
from celosia.reference.calibration import calibrate
from celosia.reference.gate import GATE_FRACTION
from celosia.reference.linear import (
    Linear,
    ceil_log2,
    columns_of,
    head_rows,
    linear,
    mantissas,
    rounded,
    scaled,
)
from celosia.reference.quantized_model import QuantizedLayer, QuantizedModel
from celosia.reference.scale import LEAST_SHIFT
from celosia.reference.scheme import Scheme

__all__ = ["Linear", "QuantizedLayer", "QuantizedModel", "Scheme", "quantize"]

ACTIVATION_WIDTH = 23  # bits of a value before block quantisation: 8 and shifts of up to 15
SCORE_FRACTION = 8
LOGIT_FRACTION = 12
FEW = 80  # positions: a channel's largest value is not among as few; of 64 it is off by half
LOG2E = 1 / math.log(2)


def quantize(model, scheme=None, calibration=None, margin=1.25):
    """Round ``model`` to a :class:`QuantizedModel`.

    ``margin`` is the room, as a factor, that static ranges leave above what calibration saw; values
    have more of it, the fewer positions that was.
    """
    scheme = scheme or Scheme()
    calibration = calibration or calibrate(model)
    c = model.config
    seen = calibration.largest

    residual = scheme.residual_width - 2 - ceil_log2(margin * seen("residual"))
    residual = min(residual, 18)
    head_width = scheme.head_width or scheme.weight_width
    columns = columns_of(c.dim, scheme)
    embedding = rounded(model.embedding, head_width, scheme, columns)
    residual -= max(0, LEAST_SHIFT - scaled(embedding, 2.0**residual).shift)
    out = QuantizedModel(
        config=c,
        scheme=scheme,
        residual_fraction=residual,
        epsilon=max(1, round(c.dim * c.norm_eps * 4.0**residual)),
        rope_increments=np.round(c.rope_frequencies / (2 * np.pi) * 2.0**32).astype(np.int64),
        embedding=scaled(embedding, 2.0**residual),
    )
    for index in range(c.n_layers):
        out.layers.append(_quantize_layer(model, out, index, calibration, margin))
    gain, shift, fraction = _gain(model.norm, residual, seen(("norm", 2 * c.n_layers)), scheme)
    out.head_gain, out.head_gain_shift = gain, shift
    factor = _after_norm(c, residual, fraction) * 2.0**LOGIT_FRACTION
    head = embedding if c.tied else rounded(model.head, head_width, scheme, columns)
    out.head = scaled(head, factor)
    return out


def _quantize_layer(model, out, index, calibration, margin):
    c, scheme, layer = model.config, out.scheme, model.layers[index]
    seen, positions = calibration.largest, calibration.positions
    residual = out.residual_fraction
    hd, hdp = c.head_dim, out.head_dim
    dim_columns = columns_of(c.dim, scheme)
    group = c.n_heads // c.n_kv_heads

    norm_gain, norm_shift, norm_fraction = _gain(
        layer.attention_norm, residual, seen(("norm", 2 * index)), scheme
    )
    normed = _after_norm(c, residual, norm_fraction)
    # Queries and keys: rotated pairs are balanced between the two, so that both peak alike, and
    # their product is the score in powers of two. Then each head of each token gets its own step.
    q_pair = seen(("q", index)).reshape(c.n_kv_heads, group, hd // 2, 2).max(axis=(1, 3))
    k_pair = seen(("k", index)).reshape(c.n_kv_heads, hd // 2, 2).max(axis=-1)
    balance = np.sqrt(k_pair / q_pair)
    k_fold = 2.0**14 / margin / (balance * (k_pair / balance).max(axis=-1, keepdims=True))
    q_fold = LOG2E * hd**-0.5 / k_fold
    score_bits = 14 - ceil_log2(margin * (q_pair * q_fold).max())
    q_factor = np.repeat(np.repeat(q_fold * 2.0**score_bits, 2, axis=-1), group, axis=0) * normed
    k_factor = np.repeat(k_fold, 2, axis=-1) * normed
    v_step = seen(("v", index)) * (margin + FEW / positions) / 127  # [kv, hd]
    v_factor = normed / v_step
    heads = head_rows(c.n_heads, hd, hdp)
    kv_heads = head_rows(c.n_kv_heads, hd, hdp)
    q = linear(layer.wq, q_factor.reshape(-1), scheme, dim_columns, heads)
    k = linear(layer.wk, k_factor.reshape(-1), scheme, dim_columns, kv_heads)
    v = linear(layer.wv, v_factor.reshape(-1), scheme, dim_columns, kv_heads)
    attention_fraction = ACTIVATION_WIDTH - 2 - ceil_log2(margin * seen(("attention", index)))
    value_scale = np.zeros((c.n_kv_heads, hdp))
    value_scale[:, :hd] = v_step * 2.0**attention_fraction
    value_scale, value_shift = mantissas(value_scale)
    o = linear(
        layer.wo, 2.0 ** (residual - attention_fraction), scheme, heads, columns_of(c.dim, scheme)
    )

    ffn_gain, ffn_shift, ffn_fraction = _gain(
        layer.ffn_norm, residual, seen(("norm", 2 * index + 1)), scheme
    )
    normed = _after_norm(c, residual, ffn_fraction)
    up_fraction = 16 - ceil_log2(margin * seen(("up", index)))
    hidden_fraction = ACTIVATION_WIDTH - 2 - ceil_log2(margin * seen(("hidden", index)))
    hidden_fraction = min(hidden_fraction, GATE_FRACTION + up_fraction - 1)
    lanes, hidden_padded = scheme.lanes, scheme.padded(c.hidden_dim)
    gate_rows = np.arange(c.hidden_dim) // lanes * 2 * lanes + np.arange(c.hidden_dim) % lanes
    gate_up = linear(
        np.concatenate([layer.w_gate, layer.w_up]),
        np.repeat([2.0**GATE_FRACTION * normed, 2.0**up_fraction * normed], c.hidden_dim),
        scheme,
        dim_columns,
        (np.concatenate([gate_rows, gate_rows + lanes]), 2 * hidden_padded),
    )
    down = linear(
        layer.w_down,
        2.0 ** (residual - hidden_fraction),
        scheme,
        columns_of(c.hidden_dim, scheme),
        columns_of(c.dim, scheme),
    )
    return QuantizedLayer(
        norm_gain=norm_gain,
        norm_shift=norm_shift,
        q=q,
        k=k,
        v=v,
        score_shift=score_bits - SCORE_FRACTION - 2,
        value_scale=value_scale,
        value_shift=value_shift,
        o=o,
        ffn_gain=ffn_gain,
        ffn_shift=ffn_shift,
        gate_up=gate_up,
        swiglu_shift=GATE_FRACTION + up_fraction - hidden_fraction,
        down=down,
    )


def _after_norm(config, residual, fraction):
    """What a normed vector's integers are multiplied by to be real, but for ``rsqrt``'s result."""
    return math.sqrt(config.dim) * 2.0 ** (residual - fraction)


def _gain(gains, residual, largest, scheme):
    """int16 gains[padded dim], the shift behind the product, and the product's binary point."""
    mantissa_shift = 14 - ceil_log2(max(np.abs(gains).max(), 2.0**-100))
    places, size = columns_of(len(gains), scheme)
    mantissa = np.zeros(size, np.int64)
    mantissa[places] = np.round(gains.astype(np.float64) * 2.0**mantissa_shift)
    fraction = ACTIVATION_WIDTH - 3 - ceil_log2(largest)
    fraction = min(fraction, residual + mantissa_shift - 1)
    return mantissa, residual + mantissa_shift - fraction, fraction
