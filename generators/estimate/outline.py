"""A model's integer operations by their shapes alone: what a program is written of, no weights."""

import numpy as np
from celosia.generators.config import ConfigError
from celosia.reference.families import describe
from celosia.reference.model import Model
from celosia.reference.operations import (
    Add,
    Attention,
    Cap,
    Clip,
    Copy,
    Embed,
    Experts,
    Gate,
    Linear,
    Norm,
    Recur,
    Rotate,
)
from celosia.reference.operations.add import IntegerAdd
from celosia.reference.operations.attention import IntegerAttention
from celosia.reference.operations.cap import IntegerCap
from celosia.reference.operations.clip import IntegerClip
from celosia.reference.operations.embed import IntegerEmbed
from celosia.reference.operations.experts import HIDDEN, IntegerExperts
from celosia.reference.operations.gate import IntegerGate
from celosia.reference.operations.hadamard import HEAD_VALUE_WIDTH, Hadamard, IntegerHadamard
from celosia.reference.operations.linear import SCALED_WIDTH, IntegerLinear, LinearPair
from celosia.reference.operations.norm import ACTIVATION_WIDTH, IntegerNorm, IntegerStreamNorm
from celosia.reference.operations.recur import IntegerRecur
from celosia.reference.operations.rotate import IntegerRotate
from celosia.reference.quantization.digits import DIGITS
from celosia.reference.quantization.matrix import Matrix
from celosia.reference.quantization.quantized_model import QuantizedModel
from celosia.reference.rewrites.rewrites import machine_form

__all__ = ["blank_model", "machine_description", "outline"]


STATE_FRACTION = 12  # of what recurs; the weights say what it is

_DESCRIBED = {}  # what rewrites made of descriptions, by the text of their configuration


def machine_description(config, ternary=False, rotate_down=0, rotate_keys=0):
    """The description of the model of a ModelConfig in the machine's form, without its weights."""
    settings = ternary, rotate_down, rotate_keys
    key = repr((config, settings))
    if key not in _DESCRIBED:
        _DESCRIBED[key] = machine_form(blank_model(config), *settings).description
    return _DESCRIBED[key]


def blank_model(config):
    """The model of a ModelConfig, all of whose weights are 1 and take no memory."""
    description = describe(config)
    layers = [_blank(description.layer_shapes(n)) for n in range(config.n_layers)]
    return Model(config, _blank(description.shapes), layers)


def _blank(shapes):
    """Tensors of so many equal values, which take no memory."""
    return {name: np.broadcast_to(np.float32(1.0), shape) for name, shape in shapes.items()}


def outline(config, scheme):
    """The :class:`QuantizedModel` of a ModelConfig, whose numbers mean nothing; its shapes do."""
    settings = scheme.ternary, scheme.rotate_down, scheme.rotate_keys
    description = machine_description(config, *settings)
    shapes = _Shapes(description, scheme, config)
    return QuantizedModel(
        config=config,
        description=description,
        scheme=scheme,
        begin=shapes.forms(description.begin),
        layers=[shapes.forms(layer, n) for n, layer in enumerate(description.layers)],
        end=shapes.forms(description.end),
        residual_fraction=0,
    )


class _Shapes:
    """What an operation is in integers, by its class; of a value it has one, shared."""

    def __init__(self, description, scheme, config):
        self.d, self.scheme, self.config = description, scheme, config

    def forms(self, operations, layer=None):
        """The integer forms of a layer's ``operations``."""
        self.layer, self.operations = layer, operations
        for op in operations:
            if type(op) not in _FORMS:
                name = type(op).__name__
                raise ConfigError(f"the cycle model does not know this model's operation {name}")
        made = (_FORMS[type(op)](self, op) for op in operations)
        return [form for form in made if form is not None]

    def padded(self, vector):
        """Values of a vector in its padded form."""
        n, heads = self.d.sizes[vector], self.d.heads.get(vector, 1)
        return heads * self.scheme.padded(n // heads)

    def matrix(self, rows, columns):
        return Matrix(_zeros((rows, columns), np.int8), _zeros(rows), 20)

    def _add(self, op):
        return IntegerAdd(op.input, op.out)

    def _attention(self, op):
        scales = _zeros((op.n_kv_heads, self.scheme.padded(op.head_dim)))
        removed = self.scheme.key_mean == "removed" and not op.cap
        mean = scales if removed else None
        return IntegerAttention(op, 0, scales, 1, self.layer, cap=op.cap and 128, key_mean=mean)

    def _cap(self, op):
        return IntegerCap(op.vector, 128)

    def _clip(self, op):
        normed = any(isinstance(x, Norm) and x.out == op.vector for x in self.operations)
        return IntegerClip(op.vector, 1) if normed else None

    def _copy(self, op):
        return IntegerNorm(op, _zeros(self.padded(op.input)), 0, None)

    def _embed(self, op):
        size = self.padded(op.out)
        positions = self.matrix(op.rows, size) if op.positions else None
        table = self.matrix(self.d.sizes["logits"], size)
        digits = (
            (table,) * (DIGITS - 1) if self.scheme.ternary and not self.scheme.wide_head else ()
        )
        return IntegerEmbed(op.out, op.table, table, op.positions, positions, op.offset, digits)

    def _experts(self, op):
        dim, hidden = self.padded(op.input), self.scheme.padded(op.hidden_dim)
        gate = IntegerGate(Gate("gate", HIDDEN, op.activation, "up"), "gate:up", 0)
        router = IntegerLinear(op.input, "router", op.router, self.matrix(op.n, dim))
        name = f"{op.gate}+{op.up}"
        pair = IntegerLinear(op.input, gate.input, name, self.matrix(op.n * 2 * hidden, dim))
        down = IntegerLinear(HIDDEN, op.out, op.down, self.matrix(op.n * dim, hidden))
        return IntegerExperts(op, router, pair, gate, down, 0)

    def _gate(self, op):
        return IntegerGate(op, f"{op.gate}:{op.up}" if op.up else op.gate, 0)

    def _hadamard(self, op):
        heads = any(isinstance(x, Attention) and op.vector in (x.q, x.k) for x in self.operations)
        return IntegerHadamard(op.vector, op.size, HEAD_VALUE_WIDTH if heads else ACTIVATION_WIDTH)

    def _linear(self, op):
        rows = self.d.sizes[op.out] if op.out == "logits" else self.padded(op.out)
        matrix, bias = self.matrix(rows, self.padded(op.input)), _zeros(rows) if op.bias else None
        return IntegerLinear(op.input, op.out, op.weight, matrix, bias, op.add)

    def _linear_pair(self, op):
        rows = 2 * self.padded(op.outs[0])
        matrix = self.matrix(rows, self.padded(op.input))
        bias = _zeros(rows) if any(op.biases) else None
        return IntegerLinear(op.input, op.out, "+".join(op.weights), matrix, bias)

    def _norm(self, op):
        gains = _zeros(self.padded(op.input) // op.groups)
        if op.input == "x":
            return IntegerNorm(op, gains, 0, 1, gains if op.weights else None)
        return IntegerStreamNorm(op, gains, 0, 1, 24, gains if op.bias else None)

    def _recur(self, op):
        normed = any(isinstance(x, Norm) and x.input == op.out for x in self.operations)
        most, width = _zeros(self.padded(op.input)), SCALED_WIDTH if normed else ACTIVATION_WIDTH
        return IntegerRecur(op, most, STATE_FRACTION, STATE_FRACTION, width, self.layer)

    def _rotate(self, op):
        return IntegerRotate(op.vector, op.increments())


def _zeros(shape, kind=np.int64):
    return np.broadcast_to(kind(0), shape)


_FORMS = {
    Add: _Shapes._add,
    Attention: _Shapes._attention,
    Cap: _Shapes._cap,
    Clip: _Shapes._clip,
    Copy: _Shapes._copy,
    Embed: _Shapes._embed,
    Experts: _Shapes._experts,
    Gate: _Shapes._gate,
    Hadamard: _Shapes._hadamard,
    Linear: _Shapes._linear,
    LinearPair: _Shapes._linear_pair,
    Norm: _Shapes._norm,
    Recur: _Shapes._recur,
    Rotate: _Shapes._rotate,
}
