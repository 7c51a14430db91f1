"""From a float Model to the compact machine's integers: weights of few bits, all else of 8."""

import math
from dataclasses import dataclass

import numpy as np
from celosia.reference.compact.arithmetic import CompactModel
from celosia.reference.compact.form import compact_form
from celosia.reference.compact.matrix import fit, fit_ternary
from celosia.reference.compact.operations import (
    BYTE,
    DOWN_SHIFT,
    EXTRA,
    GATE_FRACTION,
    HALF,
    ONES,
    SIGMOID_FRACTION,
    WIDE,
    CompactAttention,
    CompactEmbed,
    CompactGate,
    CompactLinear,
    CompactNorm,
    CompactRotate,
)
from celosia.reference.operations import Attention, Gate, Norm, Rotate
from celosia.reference.operations.attention import FEW
from celosia.reference.quantization.calibration import calibrate
from celosia.reference.quantization.formats import LOG2E, LOGIT_FRACTION, check_model

__all__ = ["CompactQuantizer", "CompactScheme", "fit", "quantize_compact"]

LARGEST = 127
HIDDEN_WIDTH = 15
SHIFTS = 16  # of a matrix
WINDOWS = range(4, 2049, 4)


@dataclass(frozen=True)
class CompactScheme:
    """The compact machine's integer model, whose attention sees ``window`` positions.

    With ``ternary`` the layers' weights are; ``weight_width`` is that of the others.
    """

    window: int
    weight_width: int = 4
    ternary: bool = False

    lanes = 4

    @property
    def name(self):
        """As ``w4a8kv8``."""
        return f"w{2 if self.ternary else self.weight_width}a8kv8"

    def form(self, model):
        """``model`` as the machine computes it: what calibration looks at."""
        return compact_form(model, self.window, self.ternary)

    def quantize(self, model, calibration=None):
        """The integer model: see :func:`quantize_compact`."""
        widths = {"weight_width": self.weight_width, "ternary": self.ternary}
        return quantize_compact(model, self.window, calibration, **widths)


def quantize_compact(model, window, calibration=None, margin=1.25, weight_width=4, ternary=False):
    """Round ``model`` to a :class:`CompactModel` whose attention sees ``window`` positions.

    ``margin`` is the room that static ranges leave above what calibration saw. With ``ternary``
    the layers' weights are -s, 0 and s, and stay so: all of a layer's values have one step.

    Raises
    ------
    ValueError
        If ``window`` or ``weight_width`` is out of range, the model's numbers are, weights that
        should be ternary are not, or the machine does not compute it.
    """
    if window not in WINDOWS:
        raise ValueError(f"window must be a multiple of 4 from 4 to 2048, not {window!r}")
    if weight_width not in (4, 8):
        raise ValueError(f"weight_width must be 4 or 8, not {weight_width!r}")
    check_model(model)
    model = compact_form(model, window, ternary)
    calibration = calibration or calibrate(model)
    return CompactQuantizer(model, window, calibration, margin, weight_width, ternary).model()


class CompactQuantizer:
    """The static formats, found from the calibration; then the operations' integers.

    ``wants`` are what vectors are to be multiplied by to be integers (``steps``: divided),
    ``widths`` their bits; ``units`` what bytes that matrices read are multiplied by to be real.
    """

    def __init__(self, model, window, calibration, margin, weight_width=4, ternary=False):
        self.weight_width, self.ternary = weight_width, ternary
        self.source, self.config, self.window = model, model.config, window
        self.description, self.calibration, self.margin = model.description, calibration, margin
        self.room = 22 - math.ceil(math.log2(margin * calibration.residual()))
        self.residual, self.most, self.layer = 0, None, None
        self.rotation = self._rotation()
        self.score_bits = min(self._of_layers(Attention, self._score_bits), default=0)
        gates = max(self._of_layers(Gate, lambda op: self.seen("gate").max()), default=1.0)
        self.gate_fraction = self._fraction("gates", gates, HALF, GATE_FRACTION, SIGMOID_FRACTION)
        logits = calibration.largest("logits").max()
        self.logit_fraction = self._fraction("logits", logits, WIDE, LOGIT_FRACTION, 0)
        self.folds = {}
        for index, layer in enumerate(self.description.layers):
            self._demand(layer, index)
            for op in layer:
                if isinstance(op, Norm):
                    fold = self._fold(op)
                    self.folds[_site(op)] = min(fold, self.folds.get(_site(op), fold))

    @property
    def more(self):
        """Bits of shifts that wide weights take more than those of 4 bits."""
        return 0 if self.ternary and self.layer is not None else self.weight_width - 4

    def _of_layers(self, kind, function):
        """What ``function`` gives for each operation of one kind."""
        for index, layer in enumerate(self.description.layers):
            self.layer = index
            yield from (function(op) for op in layer if isinstance(op, kind))

    def _fraction(self, name, largest, width, most, least):
        """Bits behind the point, from ``least`` to ``most``, of values up to ``largest``."""
        fraction = min(most, width - 1 - math.ceil(math.log2(self.margin * largest)))
        if fraction < least:
            raise ValueError(f"{name} reach {largest:,.0f}, which no format holds")
        return fraction

    def _rotation(self):
        for op in self.description.find(Rotate)[:1]:
            angles = np.array(op.frequencies)
            rotation = np.round(np.stack([np.cos(angles), np.sin(angles)], axis=-1) * 32768)
            return np.minimum(rotation.astype(np.int64), 32767)
        return None

    def seen(self, name):
        """The largest magnitudes of ``name`` in this layer."""
        return self.calibration.largest(name, self.layer)

    def tensor(self, name):
        """A tensor of the layer, or of the model, in float64."""
        tensors = self.source.tensors if self.layer is None else self.source.layers[self.layer]
        return tensors[name].astype(np.float64)

    def model(self):
        """The integer model."""
        layers = self._layers()
        adding = [op.matrix.shift for ops in layers for op in ops if getattr(op, "add", False)]
        self.residual, self.most = min(self.room, *adding), SHIFTS - 1 + self.weight_width - 4
        layers = self._layers()
        end = self._operations(self.description.end, None)
        begin = [*self._embed(self.description.begin[0], end[-1])]
        for op in (op for ops in (*layers, end) for op in ops):
            if isinstance(op, CompactLinear):
                _check(f"{op.name}'s shift", op.matrix.shift, SHIFTS)
            elif isinstance(op, CompactNorm):
                _check(f"the shift of a norm of {op.input}", op.shift)
        return CompactModel(
            config=self.config,
            description=self.description,
            window=self.window,
            begin=begin,
            layers=layers,
            end=end,
            rotation=self.rotation,
            weight_width=self.weight_width,
            ternary=self.ternary,
            gate_fraction=self.gate_fraction,
            logit_fraction=self.logit_fraction,
        )

    def _layers(self):
        return [self._operations(ops, n) for n, ops in enumerate(self.description.layers)]

    def _operations(self, operations, layer):
        self._demand(operations, layer)
        return [
            made for op in operations for made in getattr(self, f"_{type(op).__name__.lower()}")(op)
        ]

    def _demand(self, operations, layer):
        """What each vector is multiplied by, as those behind it ask for it."""
        self.layer, self.units, self.dynamic, self.rotated = layer, {}, set(), set()
        self.wants = {"x": 2.0**self.residual, "logits": 2.0**self.logit_fraction}
        self.steps, self.widths = {}, {}
        for op in reversed(operations):
            if isinstance(op, Attention):
                q_fold, k_fold = (np.repeat(fold, 2, axis=-1) for fold in self._pairs(op))
                q_fold = np.repeat(q_fold * 2.0**self.score_bits, op.group, axis=0)
                self.wants[op.q], self.wants[op.k] = (
                    fold.reshape(-1) * 2.0**EXTRA for fold in (q_fold, k_fold)
                )
                self.steps[op.v], self.widths[op.v] = self._value_step(op).reshape(-1), BYTE
            elif isinstance(op, Gate):
                self.wants[op.gate], self.widths[op.gate] = 2.0**self.gate_fraction, HALF
                if op.up:
                    self.wants[op.up], self.widths[op.up] = self._hidden(op), HALF
            elif isinstance(op, Norm) and op.input != "x":
                largest = self.margin * self.seen(f"{op.key} input").max()
                self.wants[op.input] = 2.0 ** (16 - math.ceil(math.log2(largest)))

    def _linear(self, op):
        """The matrix; the bias of what it adds is another one."""
        unit, weight = self.units[op.input], self.tensor(op.weight)
        if np.ndim(unit):
            weight, unit = weight * unit, 1.0
        base = self.more + (DOWN_SHIFT if op.input in self.dynamic else 0)
        matrix, bias = self._fit(op, weight, unit, base)
        if op.out == "logits" and matrix.shift < 0:
            self._fewer_logit_bits(-matrix.shift)
            matrix, _ = self._fit(op, weight, unit, base)
        width = self.widths.get(op.out, WIDE)
        yield CompactLinear(op.input, op.out, op.weight, matrix, base, width, op.add)
        if op.add and op.bias:
            matrix = self._fitted(np.zeros((len(bias), 0)), 1.0, self.more, bias, self.most)
            yield CompactLinear(ONES, op.out, op.bias, matrix, self.more, add=True)

    def _fit(self, op, weight, unit, base):
        step = self.steps.get(op.out)
        want = self.wants[op.out] * op.factor if step is None else op.factor / step
        bias = self.tensor(op.bias) * want if op.bias else None
        factor = want * unit if step is None else op.factor * unit / step
        if self.ternary and self.layer is not None:
            return self._ternary(op, weight, factor, base), None
        return self._fitted(weight, factor, base, None if op.add else bias), bias

    def _fitted(self, weight, factor, base, bias=None, most=None):
        return fit(weight, factor, base, bias, most, self.weight_width)

    def _ternary(self, op, weight, factor, base):
        if op.bias:
            raise ValueError(f"{op.weight} has a bias: ternary matrices of this machine have none")
        try:
            return fit_ternary(weight, factor, base)
        except ValueError as error:
            raise ValueError(f"layers.{self.layer}.{op.weight} {error}") from None

    def _fewer_logit_bits(self, n):
        """Logits get fewer bits behind the point where the head's scales need that."""
        self.logit_fraction -= n
        if self.logit_fraction < 0:
            largest = self.seen("logits").max()
            raise ValueError(f"logits reach {largest:,.0f}, which no format holds")
        self.wants["logits"] = 2.0**self.logit_fraction

    def _embed(self, embed, head):
        """The token's row, and the position's. A tied table has the head's codes."""
        if embed.table == head.name:
            step = self.units[head.input] * 2.0**self.logit_fraction
            tables = [(embed.table, head.matrix, round(math.log2(step)))]
        else:
            tables = [(embed.table, self._fitted(self.tensor(embed.table), 1.0, self.more), 0)]
        if embed.positions:
            rows = self.tensor(embed.positions)[embed.offset :]
            tables.append((embed.positions, self._fitted(rows, 1.0, self.more), 0))
        for place, (name, matrix, factor) in enumerate(tables):
            shift = 12 + self.more + matrix.shift + factor - self.residual
            _check(f"{name}'s shift", shift)
            yield CompactEmbed(embed.out, name, matrix, shift, positions=place > 0)

    def _norm(self, op):
        gains, want = self._gains(op)
        fold = self._fold(op) if self.layer is None else self.folds[_site(op)]
        codes = np.clip(np.round(gains * (want * 2.0**fold)), -128, LARGEST).astype(np.int8)
        size = codes.size // op.groups
        square_shift = _square_shift(size)
        width = BYTE
        if op.out in self.wants:
            width = WIDE
        else:
            self.units[op.out] = self._step(op)
        yield CompactNorm(
            *(op.input, op.out, codes.reshape(op.groups, size), square_shift),
            *(fold + 15 + square_shift // 2, width),
        )

    def _fold(self, op):
        """The exponent with which every gain has 8 bits."""
        gains, want = self._gains(op)
        return math.floor(math.log2(LARGEST / np.abs(gains * want).max()))

    def _gains(self, op):
        """Gains, and what makes of their products with a vector over its length the result."""
        n = self.description.sizes[op.input]
        gains = np.tile(self.tensor(op.gain) if op.gain else np.ones(n // op.groups), op.groups)
        want = self.wants.get(op.out)
        return gains, math.sqrt(n // op.groups) * (1 / self._step(op) if want is None else want)

    def _step(self, op):
        """The step of a normed vector's 8 bits; the head's is a power of two."""
        step = self.margin * float(_up(self.seen(f"{op.key} output").max(), 4)) / LARGEST
        return step if self.layer is not None else 2.0 ** math.ceil(math.log2(step))

    def _rotate(self, op):
        self.rotated.add(op.vector)
        yield CompactRotate(op.vector, op.head_dim, self.rotation)

    def _attention(self, op):
        for vector in (op.q, op.k):
            if vector not in self.rotated:
                yield CompactRotate(vector, op.head_dim, None)
        self.units[op.out] = np.repeat(self._value_step(op), op.group, axis=0).reshape(-1)
        yield CompactAttention(op, self.window, 4 + self.score_bits)

    def _value_step(self, op):
        room = self.margin + FEW / self.calibration.positions
        largest = self.seen("values")
        if self.ternary:
            largest = np.full_like(largest, largest.max())
        return _up(largest, 1) * room / LARGEST  # [kv, hd]

    def _pairs(self, op):
        """Factors of queries [kv, pairs], but for ``2**score_bits``, and of keys."""
        k_pair = _up(self.seen("keys").reshape(op.n_kv_heads, -1, 2).max(axis=-1), 4)
        k_fold = LARGEST / (self.margin * k_pair)
        k_fold = np.minimum(k_fold, 8 * k_fold.min(axis=-1, keepdims=True))
        return op.scale * LOG2E * 32 / k_fold, k_fold

    def _score_bits(self, op):
        q_pair = self.seen("queries").reshape(op.n_kv_heads, -1, op.head_dim // 2, 2)
        largest = (q_pair.max(axis=(1, 3)) * self._pairs(op)[0]).max()
        return math.floor(math.log2(LARGEST / (self.margin * largest)))

    def _gate(self, op):
        self.dynamic.add(op.out)
        self.units[op.out] = 1 / (self._hidden(op) if op.up else 2.0**self.gate_fraction)
        yield CompactGate(op, self.gate_fraction)

    def _hidden(self, op):
        """What ups, and with them hidden values, are multiplied by to be integers."""
        up = HALF - 1 - math.ceil(math.log2(self.margin * self.seen("up").max()))
        hidden = HIDDEN_WIDTH - math.ceil(math.log2(self.margin * self.seen("hidden").max()))
        return 2.0 ** min(up, hidden)


def _up(largest, parts):
    """Rounded up to ``parts`` of an octave.

    Rows' scales are quarters of an octave apart: with such steps on either side a matrix that was
    rounded once stays as it is, whatever the calibration saw. Values' steps multiply columns, and
    are to be the same after another calibration.
    """
    return 2.0 ** (np.ceil(parts * np.log2(largest) - 1e-6) / parts)


def _site(norm):
    """Norms of one kind have one shift: those of the residual stream, of queries, of keys."""
    return "x" if norm.input == "x" else norm.out


def _square_shift(size):
    """What sums of so many squares of 15 bits are shifted by to have 23, even."""
    square = max(0, 30 + math.ceil(math.log2(size)) - 23)
    return square + square % 2


def _check(name, value, limit=32):
    if value not in range(limit):
        raise ValueError(f"{name} must be from 0 to {limit - 1}, not {value}")
