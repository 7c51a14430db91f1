"""From a float Model to integers: formats by calibration, weights rounded, scales folded.

Everything that the integer machine multiplies by is fixed here. Activations are block floating
point (:mod:`celosia.reference.block_quantize`), queries and keys have a step per head and token
(:mod:`celosia.reference.head_quantize`); values a static scale per channel, folded into the rows
that make and use them.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from celosia.reference.calibration import calibrate
from celosia.reference.group_quantize import Groups, group_quantize
from celosia.reference.scale import LEAST_SHIFT
from celosia.reference.swiglu import GATE_FRACTION

__all__ = [
    "Linear",
    "QuantizedLayer",
    "QuantizedModel",
    "Scheme",
    "quantize",
]

ACTIVATION_WIDTH = 23  # bits of a value before block quantisation: 8 and shifts of up to 15
SCORE_FRACTION = 8
LOGIT_FRACTION = 12
FEW = 80  # positions: a channel's largest value is not among as few; of 64 it is off by half
LINEARS = ("q", "k", "v", "o", "gate_up", "down")
LOG2E = 1 / math.log(2)


@dataclass(frozen=True)
class Scheme:
    """The widths of the integer model. Written ``w8a8kv8``.

    Parameters
    ----------
    lanes : int, a power of two from 2 to 64
        Activations share an exponent per block of ``lanes`` values (the machine's vector lanes).
    weight_width : int, 2 to 8
    residual_width : int, 20 to 28
    group : int, 0 or a multiple of ``lanes``
        Columns that share a scale within their row; 0 for one scale per row.
    head_width : int, ``weight_width`` or twice as much, or 0
        Bits of the head's and the embedding's weights; 0 for ``weight_width``. Twice as many only
        with groups.

    Groups of fewer than 8 bits have an offset (a zero point) beside their scale, but for a head of
    more bits than the rest.
    """

    lanes: int = 8
    weight_width: int = 8
    residual_width: int = 24
    group: int = 0
    head_width: int = 0

    def __post_init__(self):
        if self.lanes not in (2, 4, 8, 16, 32, 64):
            raise ValueError(f"lanes must be a power of two from 2 to 64, not {self.lanes!r}")
        if self.weight_width not in range(2, 9):
            raise ValueError(f"weight_width must be from 2 to 8, not {self.weight_width!r}")
        if self.residual_width not in range(20, 29):
            raise ValueError(f"residual_width must be from 20 to 28, not {self.residual_width!r}")
        if self.group < 0 or self.group % self.lanes:
            raise ValueError(f"group must be a multiple of lanes ({self.lanes}), not {self.group}")
        widths = [0, self.weight_width]
        if self.group and self.weight_width <= 4:
            widths.append(2 * self.weight_width)
        if self.head_width not in widths:
            raise ValueError(
                f"head_width must be weight_width ({self.weight_width}), or with groups of at most "
                f"4 bits twice as much, not {self.head_width!r}"
            )

    @property
    def head_planes(self):
        """Words of the tape for a block of the head's columns: 2 where its weights are wider."""
        return 1 if self.head_width in (0, self.weight_width) else 2

    def has_offsets(self, width):
        """Whether groups of ``width`` bits have an offset: below 8, but not those in two planes,
        whose lower plane needs it for itself."""
        return width < 8 and width == self.weight_width

    def padded(self, n):
        """``n`` rounded up to whole blocks."""
        return -(-n // self.lanes) * self.lanes


@dataclass
class Linear:
    """``y = integers() @ x * scale * 2**-shift``.

    Parameters
    ----------
    weight : int8[rows, columns]
        The codes on the tape.
    scale : uint16[rows]
    shift : int
    groups : Groups, or None
        What the codes are multiplied by, and offset with; None for nothing.
    """

    weight: np.ndarray
    scale: np.ndarray
    shift: int
    groups: Groups | None = None

    def integers(self, rows=slice(None)):
        """The weights of some ``rows`` in steps of their row: int[rows, columns]."""
        if self.groups is None:
            return self.weight[rows]
        return self.groups.integers(self.weight, rows)

    @cached_property
    def matrix(self):
        """The weights for products: float64[columns, rows]."""
        return self.integers().T.astype(np.float64)


@dataclass
class QuantizedLayer:
    """One decoder layer in integers; rows and columns padded to whole blocks, head by head.

    ``norm_gain`` int16[dim] with ``norm_shift`` belong to the norm in front of Q, K and V,
    ``ffn_gain`` to the one in front of gate and up. ``score_shift`` turns ``q . k`` times their
    steps into logarithms (base 2, 8 fractional bits), ``value_scale`` int[n_kv_heads, head_dim]
    the weighted sum of cached values into activations.
    """

    norm_gain: np.ndarray
    norm_shift: int
    q: Linear
    k: Linear
    v: Linear
    score_shift: int
    value_scale: np.ndarray
    value_shift: int
    o: Linear
    ffn_gain: np.ndarray
    ffn_shift: int
    gate_up: Linear  # blocks of gate rows and up rows alternate
    swiglu_shift: int
    down: Linear


@dataclass
class QuantizedModel:
    """A model in integers, complete: what the machine computes, and nothing else.

    ``rope_increments`` are turns per position in units of 2**-32; ``epsilon`` is the norm's, times
    ``dim``, in squared units of the residual (2**-residual_fraction).
    """

    config: object
    scheme: Scheme
    residual_fraction: int
    epsilon: int
    rope_increments: np.ndarray
    embedding: Linear
    layers: list = field(default_factory=list)
    head_gain: np.ndarray = None
    head_gain_shift: int = 0
    head: Linear = None

    @property
    def head_dim(self):
        """``head_dim`` padded to whole blocks."""
        return self.scheme.padded(self.config.head_dim)

    def acc_width(self, seq_len):
        """Bits that hold every sum, over matrices, keys and ``seq_len`` values, signed."""
        block = 1 << 22  # -128 * 2**15, what an activation or an exponential is at most
        ops = [self.head] + [getattr(layer, n) for layer in self.layers for n in LINEARS]
        rows = [int(np.abs(op.integers(), dtype=np.int32).sum(axis=1).max()) for op in ops]
        largest = max(block * max(*rows, 127 * seq_len), 127 * 127 * self.head_dim)
        return largest.bit_length() + 1


def quantize(model, scheme=None, calibration=None, margin=1.25):
    """Round ``model`` to a :class:`QuantizedModel`.

    ``margin`` is the room, as a factor, that static ranges leave above what calibration saw; values
    have more of it, the fewer positions that was.
    """
    scheme = scheme or Scheme()
    calibration = calibration or calibrate(model)
    c = model.config
    seen = calibration.largest

    residual = scheme.residual_width - 2 - _ceil_log2(margin * seen("residual"))
    residual = min(residual, 18)
    head_width = scheme.head_width or scheme.weight_width
    columns = _columns(c.dim, scheme)
    embedding = _rounded(model.embedding, head_width, scheme, columns)
    residual -= max(0, LEAST_SHIFT - _scaled(embedding, 2.0**residual).shift)
    out = QuantizedModel(
        config=c,
        scheme=scheme,
        residual_fraction=residual,
        epsilon=max(1, round(c.dim * c.norm_eps * 4.0**residual)),
        rope_increments=np.round(c.rope_frequencies / (2 * np.pi) * 2.0**32).astype(np.int64),
        embedding=_scaled(embedding, 2.0**residual),
    )
    for index in range(c.n_layers):
        out.layers.append(_quantize_layer(model, out, index, calibration, margin))
    gain, shift, fraction = _gain(model.norm, residual, seen(("norm", 2 * c.n_layers)), scheme)
    out.head_gain, out.head_gain_shift = gain, shift
    factor = _after_norm(c, residual, fraction) * 2.0**LOGIT_FRACTION
    head = embedding if c.tied else _rounded(model.head, head_width, scheme, columns)
    out.head = _scaled(head, factor)
    return out


def _quantize_layer(model, out, index, calibration, margin):
    c, scheme, layer = model.config, out.scheme, model.layers[index]
    seen, positions = calibration.largest, calibration.positions
    residual = out.residual_fraction
    hd, hdp = c.head_dim, out.head_dim
    dim_columns = _columns(c.dim, scheme)
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
    score_bits = 14 - _ceil_log2(margin * (q_pair * q_fold).max())
    q_factor = np.repeat(np.repeat(q_fold * 2.0**score_bits, 2, axis=-1), group, axis=0) * normed
    k_factor = np.repeat(k_fold, 2, axis=-1) * normed
    v_step = seen(("v", index)) * (margin + FEW / positions) / 127  # [kv, hd]
    v_factor = normed / v_step
    heads = _head_rows(c.n_heads, hd, hdp)
    kv_heads = _head_rows(c.n_kv_heads, hd, hdp)
    q = _linear(layer.wq, q_factor.reshape(-1), scheme, dim_columns, heads)
    k = _linear(layer.wk, k_factor.reshape(-1), scheme, dim_columns, kv_heads)
    v = _linear(layer.wv, v_factor.reshape(-1), scheme, dim_columns, kv_heads)
    attention_fraction = ACTIVATION_WIDTH - 2 - _ceil_log2(margin * seen(("attention", index)))
    value_scale = np.zeros((c.n_kv_heads, hdp))
    value_scale[:, :hd] = v_step * 2.0**attention_fraction
    value_scale, value_shift = _mantissas(value_scale)
    o = _linear(
        layer.wo, 2.0 ** (residual - attention_fraction), scheme, heads, _columns(c.dim, scheme)
    )

    ffn_gain, ffn_shift, ffn_fraction = _gain(
        layer.ffn_norm, residual, seen(("norm", 2 * index + 1)), scheme
    )
    normed = _after_norm(c, residual, ffn_fraction)
    up_fraction = 16 - _ceil_log2(margin * seen(("up", index)))
    hidden_fraction = ACTIVATION_WIDTH - 2 - _ceil_log2(margin * seen(("hidden", index)))
    hidden_fraction = min(hidden_fraction, GATE_FRACTION + up_fraction - 1)
    lanes, hidden_padded = scheme.lanes, scheme.padded(c.hidden_dim)
    gate_rows = np.arange(c.hidden_dim) // lanes * 2 * lanes + np.arange(c.hidden_dim) % lanes
    gate_up = _linear(
        np.concatenate([layer.w_gate, layer.w_up]),
        np.repeat([2.0**GATE_FRACTION * normed, 2.0**up_fraction * normed], c.hidden_dim),
        scheme,
        dim_columns,
        (np.concatenate([gate_rows, gate_rows + lanes]), 2 * hidden_padded),
    )
    down = _linear(
        layer.w_down,
        2.0 ** (residual - hidden_fraction),
        scheme,
        _columns(c.hidden_dim, scheme),
        _columns(c.dim, scheme),
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


def _columns(n, scheme):
    """Places of ``n`` values in a padded vector, and its size."""
    return np.arange(n), scheme.padded(n)


def _head_rows(n_heads, head_dim, padded):
    rows = np.arange(n_heads)[:, None] * padded + np.arange(head_dim)
    return rows.reshape(-1), n_heads * padded


def _gain(gains, residual, largest, scheme):
    """int16 gains[padded dim], the shift behind the product, and the product's binary point."""
    mantissa_shift = 14 - _ceil_log2(max(np.abs(gains).max(), 2.0**-100))
    places, size = _columns(len(gains), scheme)
    mantissa = np.zeros(size, np.int64)
    mantissa[places] = np.round(gains.astype(np.float64) * 2.0**mantissa_shift)
    fraction = ACTIVATION_WIDTH - 3 - _ceil_log2(largest)
    fraction = min(fraction, residual + mantissa_shift - 1)
    return mantissa, residual + mantissa_shift - fraction, fraction


def _linear(weight, factor, scheme, columns, rows=None):
    """Round ``weight`` and place it; row scales times ``factor`` become mantissas."""
    return _scaled(_rounded(weight, scheme.weight_width, scheme, columns, rows), factor)


def _rounded(weight, width, scheme, columns, rows=None):
    """Codes of ``weight``, placed, their groups or None, the rows' steps, and the rows' places."""
    places, n_rows = rows or (np.arange(len(weight)), len(weight))
    placed = np.zeros((n_rows, columns[1]), np.float32)
    placed[np.ix_(places, columns[0])] = weight
    if scheme.group:
        offsets = scheme.has_offsets(width)
        codes, groups, step = group_quantize(placed, width, scheme.group, offsets)
        return codes, groups, step, places
    step = np.abs(placed).max(axis=1).astype(np.float64) / ((1 << (width - 1)) - 1)
    step = np.where(step > 0, step, 1.0)
    return np.round(placed / step[:, None].astype(np.float32)).astype(np.int8), None, step, places


def _scaled(rounded, factor):
    """The :class:`Linear` of rounded weights, its results times ``factor``, a number or rows'."""
    codes, groups, step, places = rounded
    scales = np.zeros(len(codes))
    scales[places] = step[places] * factor
    mantissa, shift = _mantissas(scales)
    return Linear(codes, mantissa, shift, groups)


def _mantissas(values):
    """``values`` as uint16 mantissas times ``2**-shift``, the largest from 2**15 to 2**16 - 1."""
    largest = np.max(values)
    shift = 15 - math.floor(math.log2(largest))
    if round(float(largest) * 2.0**shift) > 65535:
        shift -= 1
    return np.round(np.asarray(values) * 2.0**shift).astype(np.int64), shift


def _ceil_log2(x):
    return math.ceil(math.log2(float(x)))
